"""The page of the figures, from the stores alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.evidence.claims.training import growing_step_verdict, training_verdict
from benchmarks.paper import plan, times
from benchmarks.paper.cost import cost
from benchmarks.paper.course import course
from benchmarks.paper.curves import tuning_cost
from benchmarks.paper.head import head
from benchmarks.paper.parts import MNIST, WHOLE, Part
from benchmarks.paper.plan import Figure, Line, ScaleName
from benchmarks.paper.reach import reach
from benchmarks.paper.reading import reading
from benchmarks.paper.store import chosen, line_runs, training_loss, tuning_runs
from benchmarks.paper.table import table_row
from benchmarks.paper.times import TimeRow, ratio
from curvestep.bench.record import FINISHED, RunRecord
from curvestep.report.table import number


def text(
    scale: ScaleName,
    runs: Mapping[str, RunRecord],
    rows: Sequence[TimeRow],
    device: str = "cpu",
    part: Part = WHOLE,
) -> str:
    """The document.

    Args:
        scale: of the plan.
        runs: by key.
        rows: of table 3.
        device: where the runs were made.
        part: of the plan, that the page shows.

    Returns:
        Markdown.
    """
    out = head(scale, part, runs, device)
    for figure in part.figures(scale, device).values():
        out += _section(figure, runs, part.stem)
        if part.tasks and figure.name == "fig2":
            out += [*course(figure, runs), *reach(figure, runs), *(reading(runs) if part == MNIST else ())]
            out += _verdicts(figure, runs)
    return "\n".join([*out, *([] if part.tasks else _times(scale, rows))])


def _section(figure: Figure, runs: Mapping[str, RunRecord], stem: str) -> list[str]:
    """A figure with its table."""
    number_of = figure.name.removeprefix("fig")
    out = [f"## Figure {number_of}: {figure.title}", "", f"The source: {figure.claim}", ""]
    lines = [line for panel in figure.panels for line in panel.lines]
    if not any(line_runs(line, runs) for line in lines):
        return [*out, "Not measured yet.", ""]
    for end, what in (("", "over the epochs"), ("-cost", "over what was spent")):
        out += [f"![Figure {number_of} {what}](figures/{stem}-{figure.name}{end}.png)", ""]
    descent = "descent" in figure.quantities
    titles = ["panel", "line", "chosen", "training loss", "test loss", "test accuracy", "gradients: grid + run"]
    titles += ["steps that descend"] if descent else []
    out += [table_row(titles), table_row(["---"] * 3 + ["--:"] * (len(titles) - 3))]
    for panel in figure.panels:
        for index, line in enumerate(panel.lines):
            out.append(table_row(_cells(panel.title if index == 0 else "", line, runs, descent=descent)))
    return [*out, ""]


def _verdicts(figure: Figure, runs: Mapping[str, RunRecord]) -> list[str]:
    """What became of the claims of figure 2 on some of its tasks."""
    out: list[str] = []
    for verdict in (training_verdict(figure.panels, runs), growing_step_verdict(figure.panels, runs)):
        out += [f"### {verdict.claim}", "", f"**{verdict.word}.** {verdict.rule}", "", verdict.table, ""]
        out += [verdict.remark, ""] if verdict.remark else []
    return out


def _cells(panel: str, line: Line, runs: Mapping[str, RunRecord], *, descent: bool) -> list[str]:
    """A line of the table."""
    ends = line_runs(line, runs)
    if not ends:
        found = tuning_runs(line, runs)
        lost = line.tuned and len(found) == len(line.tuning()) and chosen(line, runs) is None
        why = "every pair of the grid diverged" if lost else "not measured yet"
        return [panel, line.label, why, *([""] * (5 if descent else 4))]
    grid = tuning_cost(line, runs).gradients
    spent = statistics.fmean(cost([run]).gradients for run in ends)
    cells = [panel, line.label, _chosen(line, runs), _losses(ends, "train"), _losses(ends, "test"), _accuracy(ends)]
    cells.append(f"{grid:,.0f} + {spent:,.0f}" if grid else f"{spent:,.0f}")
    if descent:
        shares = [epoch.descent_share for run in ends for epoch in run.epochs if epoch.descent_share is not None]
        cells.append(f"{100.0 * statistics.fmean(shares):.0f} %" if shares else "")
    return cells


def _chosen(line: Line, runs: Mapping[str, RunRecord]) -> str:
    """The pair of the grid, whether it lies at its edge, and how many were misses."""
    best = chosen(line, runs)
    if best is None or best.config.lr is None:
        return "nothing to choose"
    pair = f"{best.config.lr:g}" + (f", {best.config.decay:g}" if len(line.decays) > 1 else "")
    edge = " (edge)" if best.config.lr in (line.rates[0], line.rates[-1]) else ""
    misses = sum(run.status != FINISHED for run in tuning_runs(line, runs))
    return f"{pair}{edge}; {misses} of {len(line.tuning())} missed"


def _losses(ends: Sequence[RunRecord], which: str) -> str:
    """Mean and range over the seeds; how many diverged; how many are missing."""
    values = [training_loss(run) if which == "train" else run.held_out for run in ends]
    found = [value for value in values if value is not None]
    few = f", {len(ends)} of {plan.SEEDS} seeds" if len(ends) < plan.SEEDS else ""
    if len(found) < len(values):
        return f"{len(values) - len(found)} of {len(values)} diverged{few}"
    return f"{number(statistics.fmean(found))} ({number(min(found))}–{number(max(found))}{few})"


def _accuracy(ends: Sequence[RunRecord]) -> str:
    """Mean over the seeds that ended."""
    found = [run.last.test_accuracy if run.status == FINISHED and run.last is not None else None for run in ends]
    values = [value for value in found if value is not None]
    return f"{100.0 * statistics.fmean(values):.1f} %" if values and len(values) == len(found) else ""


def _times(scale: ScaleName, rows: Sequence[TimeRow]) -> list[str]:
    """Table 3."""
    own = {row.key: row for row in rows if row.scale == scale}
    out = [
        "## Table 3: seconds of an epoch",
        "",
        "Seconds of an epoch (the processor's own) over those of SGD, medians of blocks of steps in turn, on the "
        f"tasks' own scale `{scale}`; in parentheses the source's ratio, from a GPU and a code that it calls not "
        "optimized.",
        "",
    ]
    if not own:
        return [*out, "Not measured yet.", ""]
    out += [table_row(["task", *times.METHODS]), table_row(["---", *["--:"] * len(times.METHODS)])]
    for task, source in times.SOURCE.items():
        base = own.get(times.TimeKey(task, scale, "sgd"))
        cells = [task]
        for index, method in enumerate(times.METHODS):
            row = own.get(times.TimeKey(task, scale, method))
            if row is None or base is None or not all(math.isfinite(value) for value in row.seconds):
                cells.append("")
                continue
            published = f" ({source[index] / source[0]:.2f})" if index < len(source) else ""
            cells.append(f"{ratio(row, base):.2f}{published}")
        out.append(table_row(cells))
    return [*out, ""]
