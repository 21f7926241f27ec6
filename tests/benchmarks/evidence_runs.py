"""Runs of the paper's plan made up from a rule, as its store would give them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.paper.plan import FigureName, Line, Panel, figures
from curvestep.bench.config import RunConfig
from curvestep.bench.record import DIVERGED, FINISHED, EpochMetrics, RunRecord
from tests.bench.synthetic import record

_BASE = record()


@dataclass(frozen=True)
class Course:
    """What a run is made of; None for a divergence in the last epoch."""

    loss: float | Sequence[float | None] | None = 0.1
    test: float = 0.2
    accuracy: float = 0.9
    step: float | Sequence[float] = 0.1
    descent: float | None = None


Rule = Callable[[Panel, Line], Course | None]


def made(config: RunConfig, course: Course) -> RunRecord:
    """A run of these settings."""
    count = config.epochs
    given = course.loss
    losses = list(given) if isinstance(given, Sequence) else [given] * count
    steps = list(course.step) if isinstance(course.step, Sequence) else [course.step] * count
    lasted = next((index for index, loss in enumerate(losses) if loss is None), count)
    epochs = tuple(
        EpochMetrics(
            epoch=index + 1.0,
            step=10 * (index + 1),
            seconds=1.0,
            train_loss=losses[index],
            train_eval_loss=losses[index],
            test_loss=course.test,
            test_accuracy=course.accuracy,
            step_size=steps[index],
            descent_share=course.descent,
        )
        for index in range(lasted)
    )
    gone = lasted < count
    return replace(
        _BASE,
        config=config,
        epochs=epochs,
        status=DIVERGED if gone else FINISHED,
        diverged_at=10 * lasted + 1 if gone else None,
    )


def runs_of(name: FigureName, rule: Rule) -> dict[str, RunRecord]:
    """All runs of a figure, by key: of a grid its first pair is the best; none of a line that gets no course."""
    found: dict[str, RunRecord] = {}
    for panel in figures("small")[name].panels:
        for line in panel.lines:
            course = rule(panel, line)
            if course is None:
                continue
            grid = line.tuning()
            for place, config in enumerate(grid):
                found[config.key] = made(config, Course(loss=0.5 + place))
            for config in line.runs(grid[0] if grid else None):
                found[config.key] = made(config, course)
    return found
