"""Curves of a line of a figure: mean and range over its seeds, over epochs, gradients or seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from benchmarks.paper.cost import Cost, cost, gradients
from benchmarks.paper.plan import Line, Quantity
from benchmarks.paper.store import line_runs, tuning_runs
from curvestep.bench.record import EpochMetrics, RunRecord
from curvestep.report.series import Curve, Series

Axis = Literal["gradients", "seconds"]
_EPOCH_COLUMN: dict[Quantity, Callable[[EpochMetrics], float | None]] = {
    "test_loss": lambda epoch: epoch.test_loss,
    "accuracy": lambda epoch: epoch.test_accuracy,
    "descent": lambda epoch: epoch.descent_share,
}


def over_epochs(runs: Sequence[RunRecord], quantity: Quantity) -> Curve:
    """A quantity over the epochs: loss and step smoothed over the steps, the others after each epoch.

    Args:
        runs: one a seed.
        quantity: which.

    Returns:
        The curve; empty where nothing was measured.
    """
    if runs and quantity in ("loss", "step"):
        series = Series("", "", tuple(runs))
        return series.steps_curve("loss_ema" if quantity == "loss" else "step_size_ema", "epoch")
    column = _EPOCH_COLUMN.get(quantity, lambda _: None)
    return _curve(runs, [[(epoch.epoch, column(epoch)) for epoch in run.epochs] for run in runs])


def over_cost(line: Line, runs: Mapping[str, RunRecord], axis: Axis) -> Curve:
    """The training loss after each epoch over what was spent up to there, the tuning of the line included.

    Args:
        line: of the plan.
        runs: by key.
        axis: what was spent.

    Returns:
        The curve.
    """
    ends = line_runs(line, runs)
    spent = tuning_cost(line, runs)
    first = spent.gradients if axis == "gradients" else spent.seconds
    rows = [
        [
            (first + (done if axis == "gradients" else epoch.seconds), epoch.train_eval_loss)
            for epoch, done in zip(run.epochs, gradients(run), strict=True)
        ]
        for run in ends
    ]
    return _curve(ends, rows)


def tuning_cost(line: Line, runs: Mapping[str, RunRecord]) -> Cost:
    """What the grid of a line has cost; nothing for a method that takes no rate."""
    return cost(tuning_runs(line, runs))


def _curve(runs: Sequence[RunRecord], rows: Sequence[Sequence[tuple[float, float | None]]]) -> Curve:
    """Mean and range over the common beginning of all seeds."""
    columns: list[tuple[float, float, float, float]] = []
    for points in zip(*rows, strict=False):
        values = [y for _, y in points if y is not None and math.isfinite(y)]
        if len(values) < len(points):
            break
        place = math.fsum(x for x, _ in points) / len(points)
        columns.append((place, math.fsum(values) / len(values), min(values), max(values)))
    x, mean, low, high = zip(*columns, strict=True) if columns else ((), (), (), ())
    return Curve(x, mean, low, high, broken=any(run.diverged_at is not None for run in runs))
