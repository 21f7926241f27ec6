"""When RED is where a tuned method ends, and what both had spent by then, as a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.paper.cost import cost, gradients
from benchmarks.paper.curves import tuning_cost
from benchmarks.paper.plan import Figure, Line, Panel
from benchmarks.paper.store import line_runs, training_loss
from benchmarks.paper.table import table_row
from curvestep.bench.record import RunRecord
from curvestep.report.table import number

_OWN = ("red-sgd", "red-rmsprop")
_RIVALS = ("sgd", "rmsprop", "adamw")
_HEAD = (
    "panel", "RED", "beside, tuned", "seeds", "training loss", "its", "ratio", "there at epoch", "gradients by then",
    "its: grid + run", "test loss", "its",
)  # fmt: skip


class _Pair(NamedTuple):
    """Runs of two lines, those of equal seeds in equal places; none diverged."""

    own: tuple[RunRecord, ...]
    rival: tuple[RunRecord, ...]


def reach(figure: Figure, runs: Mapping[str, RunRecord]) -> list[str]:
    """RED beside each tuned method, over the seeds that both have.

    Args:
        figure: of the plan.
        runs: by key.

    Returns:
        Lines of Markdown; none where no seed is common.
    """
    rows = [
        _row(panel, own, rival, pair, runs)
        for panel in figure.panels
        for own in _lines(panel, _OWN)
        for rival in _lines(panel, _RIVALS)
        if (pair := _pair(line_runs(own, runs), line_runs(rival, runs))).own
    ]
    if not rows:
        return []
    return [
        "RED beside each tuned method, means over the seeds that both have and end. *There* is the first epoch after "
        "which RED's training loss is at most what the tuned method ends with.",
        "",
        table_row(_HEAD),
        table_row([*["---"] * 3, *["--:"] * (len(_HEAD) - 3)]),
        *map(table_row, rows),
        "",
    ]


def _lines(panel: Panel, labels: Sequence[str]) -> list[Line]:
    """The lines of these labels that the panel has."""
    return [line for line in panel.lines if line.label in labels]


def _pair(own: Sequence[RunRecord], rival: Sequence[RunRecord]) -> _Pair:
    """The runs of the seeds that both have and that ended."""
    other = {run.config.seed: run for run in rival if training_loss(run) is not None}
    kept = [run for run in own if run.config.seed in other and training_loss(run) is not None]
    return _Pair(tuple(kept), tuple(other[run.config.seed] for run in kept))


def _row(panel: Panel, own: Line, rival: Line, pair: _Pair, runs: Mapping[str, RunRecord]) -> list[str]:
    """A row of the table."""
    ended = [_mean_losses(side)[-1] for side in pair]
    place = first_at_most(_mean_losses(pair.own), ended[1])
    spent = statistics.fmean(gradients(run)[place - 1] for run in pair.own) if place else None
    grid, run = tuning_cost(rival, runs).gradients, statistics.fmean(cost([run]).gradients for run in pair.rival)
    tests = [[run.held_out for run in side] for side in pair]
    return [
        panel.title, own.label, rival.label, str(len(pair.own)), *map(number, ended), f"{ended[0] / ended[1]:.2f}",
        str(place) if place else "not once", f"{spent:,.0f}" if spent is not None else "", f"{grid:,.0f} + {run:,.0f}",
        *(number(statistics.fmean(value for value in side if value is not None)) for side in tests),
    ]  # fmt: skip


def _mean_losses(found: Sequence[RunRecord]) -> list[float]:
    """The mean training loss after each epoch."""
    columns = zip(*([epoch.train_eval_loss for epoch in run.epochs] for run in found), strict=True)
    return [statistics.fmean(value for value in column if value is not None) for column in columns]


def first_at_most(values: Sequence[float], limit: float) -> int | None:
    """The place, from 1, of the first value that is not above a limit.

    Returns:
        The place; None where all are above.

    Example:
        >>> first_at_most([3.0, 2.0, 1.0, 2.0], 2.0), first_at_most([3.0], 2.0)
        (2, None)
    """
    return next((place for place, value in enumerate(values, 1) if value <= limit), None)
