"""Descriptions of networks: frozen records of numbers, which import torch only when they build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import nn

ActivationName = Literal["tanh", "elu"]


class NetworkSpec(Protocol):
    """A network that can be described in a few words and built."""

    @property
    def text(self) -> str:
        """The network in a few words."""
        ...

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        ...


@dataclass(frozen=True)
class DenseSpec:
    """Linear layers with an activation between them.

    Args:
        widths: number of units of the input and of each layer.
        activation: the activation's name.
        linear_at: indices into ``widths`` of layers without activation, besides the last.
    """

    widths: tuple[int, ...]
    activation: ActivationName
    linear_at: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The network in a few words."""
        return f"{'-'.join(str(width) for width in self.widths)}, {self.activation}"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.dense import dense

        return dense(self.widths, self.activation, self.linear_at)


@dataclass(frozen=True)
class VGG11Spec:
    """The eight convolutions of VGG11 on 32×32 images, with softplus or ReLU and one linear layer of classes.

    Args:
        base_width: channels of the first convolution (64 in the published network; later ones are 2, 4 and 8 times it).
        classes: number of classes.
        beta: sharpness β of softplus(x) = log(1 + exp(βx))/β, None for ReLU.
    """

    base_width: int
    classes: int
    beta: float | None

    @property
    def text(self) -> str:
        """The network in a few words."""
        activation = "ReLU" if self.beta is None else f"softplus β={self.beta:g}"
        return f"VGG11 from {self.base_width} channels, {activation}"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.vgg import vgg11

        return vgg11(self.base_width, self.classes, self.beta)


@dataclass(frozen=True)
class GPTSpec:
    """A decoder-only transformer with layer normalisation before each sublayer.

    Args:
        vocabulary: number of tokens.
        context: longest sequence.
        blocks: number of attention + feed-forward blocks.
        width: size of a token's vector.
        heads: number of attention heads; divides ``width``.
    """

    vocabulary: int
    context: int
    blocks: int
    width: int
    heads: int

    @property
    def text(self) -> str:
        """The network in a few words."""
        return f"GPT, {self.blocks} blocks, width {self.width}, {self.heads} heads, context {self.context}, GELU"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.gpt import GPT

        return GPT(self.vocabulary, self.context, self.blocks, self.width, self.heads)


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network of basic blocks in three or more stages, for 32×32 images.

    Args:
        base_width: channels of the first stage; each further one has twice as many.
        blocks: basic blocks in a stage.
        classes: number of classes.
        stem_stride: stride of the first convolution; 2 makes everything behind it four times cheaper.
        normalised: whether each convolution is followed by batch normalisation.
        stages: number of stages; 4 of 2 blocks from 64 channels are ResNet-18.
    """

    base_width: int
    blocks: int
    classes: int
    stem_stride: int
    normalised: bool
    stages: int = 3

    @property
    def text(self) -> str:
        """The network in a few words."""
        norm = "batch norm" if self.normalised else "no normalisation"
        return f"ResNet, {self.stages} stages of {self.blocks} blocks from {self.base_width} channels, {norm}, ReLU"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.resnet import resnet

        return resnet(
            self.base_width,
            self.blocks,
            self.classes,
            self.stem_stride,
            normalised=self.normalised,
            stages=self.stages,
        )


@dataclass(frozen=True)
class ViTSpec:
    """A vision transformer with layer normalisation before each sublayer.

    Args:
        size: side of the square images.
        channels: colours of an image.
        patch: side of the square patches; divides ``size``.
        blocks: number of attention + feed-forward blocks.
        width: size of a patch's vector.
        heads: number of attention heads; divides ``width``.
        classes: number of classes.
    """

    size: int
    channels: int
    patch: int
    blocks: int
    width: int
    heads: int
    classes: int

    @property
    def text(self) -> str:
        """The network in a few words."""
        return f"ViT, patches of {self.patch}, {self.blocks} blocks, width {self.width}, {self.heads} heads, GELU"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.vit import ViT

        return ViT(self.size, self.channels, self.patch, self.blocks, self.width, self.heads, self.classes)


@dataclass(frozen=True)
class LSTMSpec:
    """Long short-term memory over tokens.

    Args:
        vocabulary: number of tokens.
        width: size of a token's vector and of each layer's state.
        layers: number of layers.
    """

    vocabulary: int
    width: int
    layers: int

    @property
    def text(self) -> str:
        """The network in a few words."""
        return f"LSTM, {self.layers} layers, width {self.width}"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.lstm import CharacterLSTM

        return CharacterLSTM(self.vocabulary, self.width, self.layers)
