"""Which sizes are measured, which are held out of the fit, and which are only computed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

from benchmarks.overhead.cases import CaseSpec
from curvestep.bench.networks.specs import GPTSpec

VOCABULARY = 65
Axis = Literal["width", "depth", "batch", "length", "all"]
AXES: tuple[Axis, ...] = ("width", "depth", "batch", "length", "all")
Variant = Literal["whole", "quarter", "split", "quarter-split"]
Baseline = Literal["SGD", "AdamW"]
Sharing = Literal["ddp", "fully_shard"]


@final
@dataclass(frozen=True)
class Size:
    """A GPT with its batch.

    Attributes:
        depth: number of blocks L.
        width: size of a token's vector w.
        length: tokens in a sequence T.
        batch: sequences in a batch B.
        vocabulary: number of tokens V.
        heads: number of attention heads.
    """

    depth: int
    width: int
    length: int
    batch: int
    vocabulary: int = VOCABULARY
    heads: int = 4

    @property
    def name(self) -> str:
        """In rows."""
        return f"GPT {self.depth}×{self.width}, T{self.length}, B{self.batch}"

    @property
    def tokens(self) -> int:
        """n = B T."""
        return self.batch * self.length

    @property
    def parameters(self) -> int:
        """N of `curvestep.bench.networks.gpt.GPT`."""
        block = 12 * self.width**2 + 13 * self.width
        return self.depth * block + (2 * self.vocabulary + self.length + 2) * self.width

    def spec(self) -> CaseSpec:
        """Network and batch as the overhead builds them."""
        network = GPTSpec(self.vocabulary, self.length, self.depth, self.width, self.heads)
        return CaseSpec(self.name, network, self.batch, (self.length,), ())


@final
@dataclass(frozen=True)
class Place:
    """A size on an axis.

    Attributes:
        axis: what is varied.
        value: of that; the number of parameters where everything grows.
        size: the size.
    """

    axis: Axis
    value: int
    size: Size


BASE = Size(depth=4, width=128, length=64, batch=8)
_VARIED: dict[Axis, tuple[int, ...]] = {
    "width": (64, 128, 256, 512),
    "depth": (1, 2, 4, 8, 16),
    "batch": (2, 8, 32),
    "length": (16, 32, 64, 128, 256),
}
#: From 10⁵ to 10⁸ parameters; the batch shrinks so that a step stays within seconds.
GROWING: tuple[Size, ...] = (
    Size(2, 64, 64, 8),
    BASE,
    Size(6, 256, 64, 8),
    Size(8, 512, 64, 4),
    Size(12, 768, 64, 1),
)

PLACES: tuple[Place, ...] = (
    *(Place(axis, value, replace(BASE, **{axis: value})) for axis, values in _VARIED.items() for value in values),
    *(Place("all", size.parameters, size) for size in GROWING),
)
#: Long sequences in a deep and in a shallow network: they tell bytes that all blocks hold from those of one at a time.
LONG: tuple[Size, ...] = (Size(16, 64, 256, 2), Size(1, 64, 256, 8))
#: Seen by no fit: three between the others, and three beyond them in width, depth or number of parameters.
HELD_OUT: tuple[Size, ...] = (
    Size(3, 192, 48, 8),
    Size(6, 320, 96, 4),
    Size(10, 96, 80, 8),
    Size(2, 1536, 64, 2),
    Size(32, 128, 64, 4),
    Size(12, 1024, 64, 1),
)

#: Where the exchanges between processes are counted: more blocks, and more width.
SHARED: tuple[Size, ...] = (Size(2, 64, 16, 4), Size(4, 64, 16, 4), Size(2, 128, 16, 4))


@final
@dataclass(frozen=True)
class Large:
    """A model that is not measured here, on many devices.

    Attributes:
        name: in tables.
        size: batch of one device.
        devices: their number.
        sharing: copies of the model, or shards of it.
    """

    name: str
    size: Size
    devices: int
    sharing: Sharing


LARGE: tuple[Large, ...] = (
    Large("10⁹", Size(24, 1792, 2048, 4, vocabulary=32_000, heads=28), 64, "ddp"),
    Large("10¹¹", Size(96, 9216, 2048, 1, vocabulary=32_000, heads=72), 1024, "fully_shard"),
)


def sizes() -> tuple[Size, ...]:
    """All that are measured, each once, the smallest first."""
    found = dict.fromkeys([*(place.size for place in PLACES), *LONG, *HELD_OUT])
    return tuple(sorted(found, key=lambda size: size.parameters * size.tokens))
