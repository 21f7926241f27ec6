"""What the measurement of one size leaves behind, and of one exchange; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from benchmarks.growth.plan import Size, Variant
from curvestep.bench.store import Row


class GrowthKey(NamedTuple):
    """Which measurement."""

    machine: str
    depth: int
    width: int
    length: int
    batch: int
    variant: str


@final
@dataclass(frozen=True)
class GrowthRow(Row):
    """One variant of a measured step on one size, beside the plain step along the same direction.

    Args:
        machine: name of the machine in `machines.jsonl`.
        depth, width, length, batch: the size.
        parameters: number of trained numbers.
        variant: "whole" (`RescaledSGD`), "quarter" (a quarter of the samples), "split" (nothing held on the tape),
            "quarter-split" (both, along Adam's direction: a step of `CeilingAdam` that measures).
        pairs: number of interleaved pairs.
        low, median, high: quartiles of the ratio of CPU times in a pair.
        plain_seconds, seconds: median CPU time of the plain step and of the variant.
        plain_products, products: multiply-adds, as torch's profiler saw them.
        plain_peak, peak: most bytes allocated at once during the step, above what was held before.
        revision: git revision of the library.
    """

    machine: str
    depth: int
    width: int
    length: int
    batch: int
    parameters: int
    variant: Variant
    pairs: int
    low: float
    median: float
    high: float
    plain_seconds: float
    seconds: float
    plain_products: int
    products: int
    plain_peak: int
    peak: int
    revision: str | None = None

    DIGITS: ClassVar[int] = 5  # more than a time has; whole numbers keep all of theirs

    @property
    def key(self) -> GrowthKey:
        """Rows of equal key are the same measurement."""
        return GrowthKey(self.machine, self.depth, self.width, self.length, self.batch, self.variant)

    @property
    def size(self) -> Size:
        """The size."""
        return Size(self.depth, self.width, self.length, self.batch)


class ExchangeKey(NamedTuple):
    """Which count."""

    sharing: str
    depth: int
    width: int
    step: str


@final
@dataclass(frozen=True)
class ExchangeRow(Row):
    """What two processes exchange in one step of forward, backward and update.

    Args:
        sharing: "ddp" (copies) or "fully_shard" (shards).
        depth, width, length, batch: the size; each process has half of the batch.
        parameters: number of trained numbers.
        step: "plain" (`SGD`), "whole" (`RescaledSGD`) or "quarter-split" (a step of `CeilingAdam` that measures).
        reduced: number of all-reduces.
        reduced_bytes: bytes that they average.
        gathered: number of all-gathers.
        gathered_bytes: bytes that one process has received of all together, its own part included.
        scattered: number of reduce-scatters.
        scattered_bytes: bytes that one process puts in.
        revision: git revision of the library.
    """

    sharing: str
    depth: int
    width: int
    length: int
    batch: int
    parameters: int
    step: str
    reduced: int
    reduced_bytes: int
    gathered: int
    gathered_bytes: int
    scattered: int
    scattered_bytes: int
    revision: str | None = None

    @property
    def key(self) -> ExchangeKey:
        """Rows of equal key are the same count."""
        return ExchangeKey(self.sharing, self.depth, self.width, self.step)
