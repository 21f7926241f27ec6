"""What a check compared: every number of the engine next to its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from curvestep._errors import CurvestepError


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of the engine next to its truth.

    Attributes:
        variant: which problem: "tangent", "taylor", …, with the dtype where it is not float64.
        quantity: "total", "slope", "per_sample[i]", …
        truth_from: "double backward" or "central differences".
        found: the engine's number.
        truth: the other one.
        error: |found − truth| over the scale of the quantity.
        tolerance: what the error may be.
    """

    variant: str
    quantity: str
    truth_from: str
    found: float
    truth: float
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; not-a-number is not."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        ratio = self.found / self.truth if self.truth else float("inf" if self.found else "nan")
        return (
            f"{self.variant}: {self.quantity} is {self.found:.12g}, {self.truth_from} says {self.truth:.12g} "
            f"(ratio {ratio:.9g}, error {self.error:.2e}, allowed {self.tolerance:.0e})"
        )


@final
@dataclass(frozen=True, slots=True)
class RuleReport:
    """What a check compared.

    Attributes:
        comparisons: every number next to its truth.
        ops: names of the operations that carried a gradient in the recording, in order, each once.
        sources: for each variant, the pass that the engine took.
        exact: for each variant, whether the engine called its split over samples exact.
    """

    comparisons: tuple[Comparison, ...]
    ops: tuple[str, ...]
    sources: dict[str, str]
    exact: dict[str, bool]

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The comparisons that are out of tolerance."""
        return tuple(c for c in self.comparisons if not c.passed)

    def worst(self, quantity: str, *, truth_from: str = "double backward", single: bool = False) -> float:
        """Return the largest error among the quantities that start with a word.

        Args:
            quantity: "total", "slope" or "per_sample".
            truth_from: "double backward" or "central differences".
            single: look at float32 instead of float64.

        Returns:
            The largest relative error; 0.0 where nothing was compared.
        """
        held = [
            c.error
            for c in self.comparisons
            if c.quantity.startswith(quantity) and c.truth_from == truth_from and ("float32" in c.variant) == single
        ]
        return max(held, default=0.0)


@final
class RuleCheckError(CurvestepError, AssertionError):
    """A derivative rule disagrees with a truth; the message lists each index, both values and their ratio."""

    def __init__(self, report: RuleReport) -> None:
        shown = [str(c) for c in report.failures]
        more = f"\n  … and {len(shown) - 20} more" if len(shown) > 20 else ""
        super().__init__(
            f"{len(shown)} of {len(report.comparisons)} numbers disagree; "
            f"operations: {', '.join(report.ops)}; passes: {report.sources}; called exact: {report.exact}\n  "
            + "\n  ".join(shown[:20])
            + more
        )
        self.report = report


def joined(reports: Sequence[RuleReport]) -> RuleReport:
    """Return several reports as one.

    Args:
        reports: with distinct names of variants.

    Returns:
        One report with the comparisons of all.
    """
    return RuleReport(
        tuple(c for r in reports for c in r.comparisons),
        tuple(dict.fromkeys(op for r in reports for op in r.ops)),
        {k: v for r in reports for k, v in r.sources.items()},
        {k: v for r in reports for k, v in r.exact.items()},
    )
