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
    """The eight convolutions of VGG11 on 32×32 images, with softplus and one linear layer of classes.

    Args:
        base_width: channels of the first convolution (64 in the published network; later ones are 2, 4 and 8 times it).
        classes: number of classes.
        beta: sharpness β of softplus(x) = log(1 + exp(βx))/β.
    """

    base_width: int
    classes: int
    beta: float

    @property
    def text(self) -> str:
        """The network in a few words."""
        return f"VGG11 from {self.base_width} channels, softplus β={self.beta:g}"

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
