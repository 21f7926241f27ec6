"""Training loss and step of each line after some of its epochs, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.paper.plan import Figure
from benchmarks.paper.store import line_runs
from benchmarks.paper.table import table_row
from curvestep.bench.record import EpochMetrics, RunRecord
from curvestep.report.table import number

#: Shares of a run of which its numbers are told, beside its first epoch.
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


def course(figure: Figure, runs: Mapping[str, RunRecord]) -> list[str]:
    """Losses on the fixed part of the training data, and mean steps of an epoch; means over the seeds that there are.

    Args:
        figure: of the plan.
        runs: by key.

    Returns:
        Lines of Markdown; none where no line has a run.
    """
    lines = [(panel.title, line.label, line_runs(line, runs)) for panel in figure.panels for line in panel.lines]
    there = [each for each in lines if each[2]]
    if not there:
        return []
    return [
        *_table("Training loss after", there, lambda epoch: epoch.train_eval_loss),
        *_table("Mean step of", there, lambda epoch: epoch.step_size),
    ]


def _table(
    what: str,
    lines: Sequence[tuple[str, str, tuple[RunRecord, ...]]],
    column: Callable[[EpochMetrics], float | None],
) -> list[str]:
    """A number of each line over its epochs."""
    head = ["panel", "line", "first", *(f"{100 * share:.0f} %" for share in SHARES)]
    out = [
        f"{what} the first epoch, and the one at which a share of them is over:",
        "",
        table_row(head),
        table_row(["---", "---", *["--:"] * (len(head) - 2)]),
    ]
    for title, label, found in lines:
        places = [1, *(max(1, round(share * found[0].config.epochs)) for share in SHARES)]
        out.append(table_row([title, label, *(_mean(found, place, column) for place in places)]))
    return [*out, ""]


def _mean(found: Sequence[RunRecord], epoch: int, column: Callable[[EpochMetrics], float | None]) -> str:
    """The mean at an epoch; empty where a seed has none there."""
    values = [column(run.epochs[epoch - 1]) if len(run.epochs) >= epoch else None for run in found]
    kept = [value for value in values if value is not None]
    return number(statistics.fmean(kept)) if len(kept) == len(values) else ""
