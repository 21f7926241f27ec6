"""The page of the figures, from the stores alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.paper import plan, times
from benchmarks.paper.cost import cost
from benchmarks.paper.curves import tuning_cost
from benchmarks.paper.parts import WHOLE, Part
from benchmarks.paper.plan import Figure, Line, ScaleName
from benchmarks.paper.store import chosen, line_runs, training_loss, tuning_runs
from benchmarks.paper.times import TimeRow, ratio
from curvestep.bench.record import FINISHED, RunRecord
from curvestep.report.table import number

_HEAD = (
    "# The figures of the source, run again",
    "",
    "`python -m benchmarks paper` makes the runs that the figures of *Adaptive scaling of the learning rate by second "
    "order automatic differentiation* (de Gournay, Gossard) ask for, draws them, and writes this page from the stores "
    "in `benchmarks/stores/paper`. `python -m benchmarks paper fig5 table3` does so for some of them.",
    "",
)
_SMALL = (
    "What is below is the scale `small`, made for one core and an hour. It says how the commands and the figures work, "
    "and what becomes of the source's observations at this size; it is no repetition of the source's results. Against "
    "the scale `paper` (`--scale paper`: the source's networks, lengths and grid): networks of 4 channels in the first "
    "convolution that see the images at 16×16, 768 to 1,280 examples, 25 epochs instead of 200 or 500, batches of 64 "
    "(128 for CIFAR-100). 150 steps do not take VGG19 far from chance on CIFAR-100: its panels say little.",
    "",
    "Rates and decays (τ₀, d) are chosen as in the source, by the training loss after a fifth of the epochs, from a "
    "grid of 14 pairs instead of 42 or 56: τ₀ from 0.01 to 10 for SGD and its kin, from 1e-5 to 0.01 for what divides "
    "by a root of squares, {1, 5}·10ⁿ; d of 0.9 and 1. The grid is run with the first seed, and its cost counts. A run "
    "of the grid whose average loss is above ten times its first one, or not finite, ends there and is a miss. Where "
    "the table says *edge*, the pair lies at the end of this grid, and the source's might have had a better one.",
    "",
)
_REST = (
    "Lines are means of three seeds, or as many as the table says; bands go from the lowest to the highest, losses "
    "contain the L2 term. Loss of the batches and step are exponential moving averages with the task's factor (0.99, "
    "the linear probe 0.9). The second figure of each pair has the loss on a fixed part of the training data over what "
    "was spent on it, in gradients of the line's own batch and in seconds, tuning included: a line with a grid begins "
    "where its grid ended. A measured step counts as two gradients, one of Step-Tuned SGD as two, a batch on "
    "which Auto ends a window as three. The seconds are those of a machine that had other work: compare gradients. "
    "▲ stands for a line that is above its panel throughout, × for a seed that diverged.",
    "",
    "Auto and AdamW, with a grid of its own, stand beside the source's methods; the source has neither.",
    "",
)


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
    out = [*_HEAD, *(_SMALL if scale == "small" else ()), *_REST]
    for figure in part.figures(scale, device).values():
        out += _section(figure, runs, part.stem)
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
    head = ["panel", "line", "chosen", "training loss", "test loss", "test accuracy", "gradients: grid + run"]
    head += ["steps that descend"] if descent else []
    out += [_row(head), _row(["---"] * 3 + ["--:"] * (len(head) - 3))]
    for panel in figure.panels:
        for index, line in enumerate(panel.lines):
            out.append(_row(_cells(panel.title if index == 0 else "", line, runs, descent=descent)))
    return [*out, ""]


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
    out += [_row(["task", *times.METHODS]), _row(["---", *["--:"] * len(times.METHODS)])]
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
        out.append(_row(cells))
    return [*out, ""]


def _row(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
