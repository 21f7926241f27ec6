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
    """Linear layers with an activation between them."""

    widths: tuple[int, ...]  # number of units of the input and of each layer
    activation: ActivationName  # the activation's name
    linear_at: tuple[int, ...] = ()  # indices into ``widths`` of layers without activation, besides the last

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
    """The eight convolutions of VGG11 on 32×32 images, with softplus or ReLU and one linear layer of classes."""

    # channels of the first convolution (64 in the published network; later ones are 2, 4 and 8 times it)
    base_width: int
    classes: int  # number of classes
    beta: float | None  # sharpness β of softplus(x) = log(1 + exp(βx))/β, None for ReLU
    memory: int | None = None  # rows that a memory of features before the last layer shows it, None for no memory
    scaled: bool = False  # whether weights start at the scale of He et al. instead of torch's
    halved: bool = False  # whether it sees the images at 16×16

    @property
    def text(self) -> str:
        """The network in a few words."""
        return _vgg_text("VGG11", self)

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.vgg import vgg

        return vgg(11, self.base_width, self.classes, self.beta, self.memory, scaled=self.scaled, halved=self.halved)


@dataclass(frozen=True)
class VGG19Spec:
    """The sixteen convolutions of VGG19 on 32×32 images, at the scale of He et al.; fields as in `VGG11Spec`."""

    base_width: int
    classes: int
    beta: float | None
    memory: int | None = None
    halved: bool = False

    @property
    def text(self) -> str:
        """The network in a few words."""
        return _vgg_text("VGG19", self)

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.vgg import vgg

        return vgg(19, self.base_width, self.classes, self.beta, self.memory, scaled=True, halved=self.halved)


def _vgg_text(name: str, spec: VGG11Spec | VGG19Spec) -> str:
    """The network in a few words."""
    activation = "ReLU" if spec.beta is None else f"softplus β={spec.beta:g}"
    memory = "" if spec.memory is None else f", memory of {spec.memory}"
    size = ", images of 16×16" if spec.halved else ""
    return f"{name} from {spec.base_width} channels, {activation}{memory}{size}"


@dataclass(frozen=True)
class GPTSpec:
    """A decoder-only transformer with layer normalisation before each sublayer."""

    vocabulary: int  # number of tokens
    context: int  # longest sequence
    blocks: int  # number of attention + feed-forward blocks
    width: int  # size of a token's vector
    heads: int  # number of attention heads; divides ``width``

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
    """A residual network of basic blocks in three or more stages, for 32×32 images."""

    base_width: int  # channels of the first stage; each further one has twice as many
    blocks: int  # basic blocks in a stage
    classes: int  # number of classes
    stem_stride: int  # stride of the first convolution; 2 makes everything behind it four times cheaper
    normalised: bool  # whether each convolution is followed by batch normalisation
    stages: int = 3  # number of stages; 4 of 2 blocks from 64 channels are ResNet-18

    @property
    def text(self) -> str:
        """The network in a few words."""
        norm = "batch norm" if self.normalised else "no normalisation"
        return f"ResNet, {self.stages} stages of {self.blocks} blocks from {self.base_width} channels, {norm}, ReLU"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.resnet import resnet

        return resnet(
            self.base_width, self.blocks, self.classes, self.stem_stride, normalised=self.normalised, stages=self.stages
        )


@dataclass(frozen=True)
class ViTSpec:
    """A vision transformer with layer normalisation before each sublayer."""

    size: int  # side of the square images
    channels: int  # colours of an image
    patch: int  # side of the square patches; divides ``size``
    blocks: int  # number of attention + feed-forward blocks
    width: int  # size of a patch's vector
    heads: int  # number of attention heads; divides ``width``
    classes: int  # number of classes

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
    """Long short-term memory over tokens."""

    vocabulary: int  # number of tokens
    width: int  # size of a token's vector and of each layer's state
    layers: int  # number of layers

    @property
    def text(self) -> str:
        """The network in a few words."""
        return f"LSTM, {self.layers} layers, width {self.width}"

    def build(self) -> nn.Module:
        """The network with random initial weights from torch's global generator."""
        from curvestep.bench.networks.lstm import CharacterLSTM

        return CharacterLSTM(self.vocabulary, self.width, self.layers)
