"""What a line search beside a step left behind; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, final

from curvestep.bench.store import Row, Store


class LookKey(NamedTuple):
    """Which step of which run."""

    task: str
    seed: int
    step: int


@final
@dataclass(frozen=True)
class Look(Row):
    """One step of LQA beside the best step along the same gradient on the same batch.

    Args:
        task: name of the task, at the small scale.
        seed: of the run.
        step: 1-based number of the step.
        first: loss of the batch before the step.
        least: the least loss found along the gradient.
        reached: loss of the batch after the step.
        best_step: where the least loss was found, in units of the gradient.
        step_size: LQA's step.
        outcome: of LQA's step, by name.
        revision: git revision of the library, where it was noted.
    """

    task: str
    seed: int
    step: int
    first: float
    least: float
    reached: float
    best_step: float
    step_size: float | None
    outcome: str
    revision: str | None = None

    DIGITS: ClassVar[int] = 17  # shares are quotients of small differences

    @property
    def key(self) -> LookKey:
        """Which step of which run."""
        return LookKey(self.task, self.seed, self.step)

    @property
    def share(self) -> float:
        """The decrease as a share of the best one; below 0 where the loss rose."""
        return (self.first - self.reached) / (self.first - self.least)


def look_store(folder: Path) -> Store[Look]:
    """The looks in a folder of the claims."""
    return Store(folder / "line.jsonl", Look)
