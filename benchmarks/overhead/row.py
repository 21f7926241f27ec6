"""What one measurement of the overhead leaves behind; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

from benchmarks.overhead.waiting import MOST
from curvestep.bench.store import Row

#: What the name of a machine ends with whose rows have processor time.
PROCESSOR_TIME = ", processor time"


class OverheadKey(NamedTuple):
    """Which measurement."""

    machine: str
    network: str
    variant: str


@final
@dataclass(frozen=True)
class OverheadRow(Row):
    """One variant of taking a step on one network.

    Args:
        machine: processor or accelerator, and threads; a row is repeated on another machine.
        subject: name of network and batch.
        method: name of the variant.
        gives: what is known after the step beside the gradient.
        baseline: the plain step that it is compared with.
        pairs: number of interleaved pairs; 0 where the variant does not apply.
        low, median, high: quartiles of the ratio of times in a pair; of a step in the mean of a period.
        memory: peak of allocated bytes over that of the plain step.
        products: multiply-adds of matrix products and convolutions that ran, over those of the plain step; None where
            some ran in a kernel that hides them.
        predicted: the same ratio as ``curvestep.doctor`` predicts it; None where it predicts none.
        plain_seconds: median time of the plain step.
        batch: number of samples; 0 where that was not noted.
        error: relative error of the curvature of the batch along the gradient, against float64.
        error_per_sample: largest error of a sample's curvature over the largest absolute value of one.
        compile_seconds: what the first steps took beyond the time of later ones, where they compile.
        waited: how long threads were ready to run and had no processor, over the time of the pairs; None where the
            system does not count that, 0 where processor time was taken, which knows no waiting.
        skipped: why the variant does not apply, empty where it does.
        axis, value: what of the network was varied to see how the cost grows, and its value; "" and 0 elsewhere.
        revision: git revision of the library.
        source: digest of the source that the variant runs.
        usual, rare: medians of the ratio of times for a step that does not measure and for one that does, where they
            were timed apart; else None.
    """

    machine: str
    subject: str
    method: str
    gives: str
    baseline: str
    pairs: int = 0
    low: float | None = None
    median: float | None = None
    high: float | None = None
    memory: float | None = None
    products: float | None = None
    predicted: float | None = None
    plain_seconds: float | None = None
    batch: int = 0
    error: float | None = None
    error_per_sample: float | None = None
    compile_seconds: float | None = None
    waited: float | None = None
    skipped: str = ""
    axis: str = ""
    value: int = 0
    revision: str | None = None
    source: str = ""
    usual: float | None = None
    rare: float | None = None

    DIGITS: ClassVar[int] = 4  # more than a ratio of times has

    @property
    def key(self) -> OverheadKey:
        """Rows of equal key are the same measurement."""
        return OverheadKey(self.machine, self.subject, self.method)

    @property
    def disturbed(self) -> bool:
        """Whether other work was in the way, so that its times are not to be relied on."""
        return self.waited is not None and self.waited > MOST


@final
@dataclass(frozen=True)
class Machine(Row):
    """What a machine of the rows is.

    Args:
        machine: its name in the rows.
        environment: versions and processor.
    """

    machine: str
    environment: dict[str, Any]

    @property
    def key(self) -> str:
        """Its name."""
        return self.machine


def machines(rows: Sequence[OverheadRow]) -> list[str]:
    """The machines in the order of their first row."""
    return list(dict.fromkeys(row.machine for row in rows))
