"""What one run of an experiment leaves behind; imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, final

from benchmarks.regimes.plan import AnyCase, Experiment
from curvestep.bench.store import Row

CONVERGED = "converged"
FINISHED = "finished"
DIVERGED = "diverged"


class CaseKey(NamedTuple):
    """Which run: its experiment and the fields of its case, sorted by name."""

    experiment: str
    case: tuple[tuple[str, Any], ...]


@final
@dataclass(frozen=True)
class RegimeRow(Row):
    """One run.

    Args:
        experiment: which.
        case: the fields of its case; rows of equal case are the same run.
        ended: "converged" (the gradient became as small as asked for), "finished" (all steps were taken), "diverged" (a
            loss was not finite).
        steps: number of steps taken.
        first, last: training loss before the first and after the last step; None if it is not finite.
        worst: the largest moving average of batch losses (factor 0.9) behind the first ten steps, or the largest loss
            where there are no batches; None if none was finite.
        numbers: what else was measured, by name.
        outcomes: how often a step ended in each way.
        curve: (step, moving average of the batch loss), thinned.
        seconds: time of the run.
        revision: git revision of the library.
    """

    experiment: str
    case: dict[str, Any]
    ended: str
    steps: int
    first: float | None
    last: float | None
    worst: float | None
    numbers: dict[str, float | None] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    curve: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    revision: str | None = None

    @property
    def key(self) -> CaseKey:
        """Equal for equal runs."""
        return CaseKey(self.experiment, tuple(sorted(self.case.items())))

    @property
    def ran_away(self) -> bool:
        """Whether a loss was not finite, or the training loss ended no lower than it began, or rose to twice that."""
        if self.ended == DIVERGED or self.last is None or self.first is None or self.worst is None:
            return True
        return self.last >= self.first or self.worst > 2.0 * self.first


def case_key(experiment: Experiment, case: AnyCase) -> CaseKey:
    """The key of the row that a case will leave."""
    return CaseKey(experiment, tuple(sorted(asdict(case).items())))
