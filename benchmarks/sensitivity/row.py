"""What one run of the sensitivity leaves behind; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from benchmarks.sensitivity.plan import Case
from curvestep.bench.store import Row


class SensitivityKey(NamedTuple):
    """Which run."""

    task: str
    method: str
    value: float
    seed: int


@final
@dataclass(frozen=True)
class SensitivityRow(Row):
    """The end of one run.

    Args:
        task: name of the task.
        method: name of the subject.
        value: of the number that was varied.
        seed: of the run.
        status: "finished", or "diverged" (the loss of a batch was not finite; the run ended there).
        steps: number of steps taken.
        train, test: losses after the run with the weights that the method says to evaluate; None if not finite or
            diverged. They contain the L2 term.
        accuracy: share of right predictions on the test data; None after a divergence.
        seconds: of all steps.
        machine: name of the machine in `machines.jsonl`.
        data: fingerprint of the data.
        revision: git revision of the library.
    """

    task: str
    method: str
    value: float
    seed: int
    status: str
    steps: int
    train: float | None
    test: float | None
    accuracy: float | None
    seconds: float
    machine: str
    data: str
    revision: str | None = None

    DIGITS: ClassVar[int] = 6

    @property
    def key(self) -> SensitivityKey:
        """Rows of equal key are the same run."""
        return SensitivityKey(self.task, self.method, self.value, self.seed)


def case_key(case: Case) -> SensitivityKey:
    """The key of the row that a case will leave."""
    return SensitivityKey(case.task, case.subject.name, case.value, case.seed)
