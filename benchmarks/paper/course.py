"""The training loss of each line after some of its epochs, as a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from benchmarks.paper.plan import Figure
from benchmarks.paper.store import line_runs
from benchmarks.paper.table import table_row
from curvestep.bench.record import RunRecord
from curvestep.report.table import number

#: Shares of a run after which its loss is told.
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


def course(figure: Figure, runs: Mapping[str, RunRecord]) -> list[str]:
    """The losses on the fixed part of the training data, means over the seeds that there are.

    Args:
        figure: of the plan.
        runs: by key.

    Returns:
        Lines of Markdown; none where no line has a run.
    """
    rows: list[list[str]] = []
    for panel in figure.panels:
        for line in panel.lines:
            found = line_runs(line, runs)
            if found:
                places = [max(1, round(share * found[0].config.epochs)) for share in SHARES]
                rows.append([panel.title, line.label, *(_loss(found, place) for place in places)])
    if not rows:
        return []
    head = ["panel", "line", *(f"{100 * share:.0f} %" for share in SHARES)]
    return [
        "Training loss after a share of the epochs:",
        "",
        table_row(head),
        table_row(["---", "---", *["--:"] * len(SHARES)]),
        *map(table_row, rows),
        "",
    ]


def _loss(found: tuple[RunRecord, ...], epoch: int) -> str:
    """The mean after an epoch; empty where a seed has none there."""
    values = [run.epochs[epoch - 1].train_eval_loss if len(run.epochs) >= epoch else None for run in found]
    kept = [value for value in values if value is not None]
    return number(statistics.fmean(kept)) if len(kept) == len(values) else ""
