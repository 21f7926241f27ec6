"""The figure of the sensitivity: the end of a run over the number that a method was given, from the rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sensitivity.plan import SUBJECTS, VALUES, WISHES, Subject
from benchmarks.sensitivity.row import SensitivityRow
from benchmarks.sensitivity.width import Curve, Split, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from curvestep.report.style import LineStyle

#: Losses above it, and misses, are drawn there: more than twice that of a guess among ten classes.
_HIGHEST = 5.0
_TITLES: dict[Split, str] = {"train": "training loss", "test": "test loss"}
#: Measured steps above, rates below.
_PARTS: tuple[tuple[str, frozenset[str]], ...] = (
    ("measured", frozenset({"level-sgd", "level-adam", "auto", "auto-ceiling", "lqa", "alig"})),
    ("given", frozenset({"eg-sgd", "sgd", "rmsprop", "adamw"})),
)


def write_figure(rows: Sequence[SensitivityRow], stem: Path) -> tuple[Path, ...]:
    """Draw a column a task and loss, and below each other methods that measure their step and those that are given it.

    Args:
        rows: of the store.
        stem: path of the files without their ending.

    Returns:
        The files, PNG and SVG.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from curvestep.report.figure import STYLE, save

    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(12.4, 6.6), layout="constrained")
        columns: list[tuple[str, Split]] = [(task, split) for task in WISHES for split in _TITLES]
        grid = drawn.subplots(2, len(columns), sharex=True, sharey="col", squeeze=False)
        lowest = [_lowest(rows, task, split) for task, split in columns]
        for row, (_, names) in enumerate(_PARTS):
            for column, (task, split) in enumerate(columns):
                axes: Axes = grid[row][column]
                for place, subject in enumerate(each for each in SUBJECTS if each.name in names):
                    _line(axes, subject, curve(rows, task, subject.name, split), place)
                _finish(axes, f"{task}: {_TITLES[split]}" if row == 0 else "", lowest[column])
        for axes in grid[1]:
            axes.set_xlabel("the method's number")
        drawn.legend(handles=_legend(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
        return save(drawn, stem, 130)


def _line(axes: Axes, subject: Subject, found: Curve, place: int) -> None:
    """The mean of the seeds with their range; misses as crosses at the upper edge, one row of them a method."""
    style = _style(subject)
    colour = style.colour
    shown = [mean if mean <= _HIGHEST else math.nan for mean in found.means]
    axes.plot(found.values, shown, color=colour, linestyle=style.dashes, linewidth=1.6)
    kept = [(v, low, min(high, _HIGHEST)) for v, low, high in zip(found.values, found.lows, found.highs, strict=True)]
    kept = [(v, low, high) for v, low, high in kept if low <= _HIGHEST]
    if kept:
        values, lows, highs = zip(*kept, strict=True)
        axes.fill_between(values, lows, highs, color=colour, alpha=0.15, linewidth=0)
    missed = [value for value, mean in zip(found.values, found.means, strict=True) if not mean <= _HIGHEST]
    height = _HIGHEST * 1.35 ** (place + 1)
    axes.plot(missed, [height] * len(missed), "x", color=colour, markersize=4.5)
    if subject.default is not None and found.values:
        near = _at(found, subject.default)
        if near is not None:
            axes.plot([subject.default], [near], "o", color=colour, markersize=6, markerfacecolor="white")


def _at(found: Curve, value: float) -> float | None:
    """The mean at a value between two that were tried, along the line between their logarithms."""
    for low, high, a, b in zip(found.values, found.values[1:], found.means, found.means[1:], strict=False):
        if low <= value <= high and max(a, b) <= _HIGHEST:
            share = math.log(value / low) / math.log(high / low)
            return math.exp(math.log(a) + share * math.log(b / a))
    return None


def _lowest(rows: Sequence[SensitivityRow], task: str, split: Split) -> float:
    """The least loss of a task's seeds, or a tenth."""
    losses = [row.train if split == "train" else row.test for row in rows if row.task == task]
    return min((loss for loss in losses if loss is not None and loss > 0.0), default=0.1)


def _finish(axes: Axes, title: str, lowest: float) -> None:
    """Axes, the line above which losses are not told apart, and the title."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

    axes.set(xscale="log", yscale="log")
    axes.set_xlim(VALUES[0] / 1.5, VALUES[-1] * 1.5)
    axes.set_ylim(lowest / 1.6, _HIGHEST * 1.35**7)
    powers = [10.0**power for power in range(-12, 1) if 10.0**power > lowest / 1.6]
    labels = [f"$10^{{{round(math.log10(power))}}}$" for power in powers]
    axes.set_yticks([*powers, _HIGHEST * 1.35**3.5], labels=[*labels, "miss"])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(_HIGHEST, color="#888888", linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(FixedLocator([1e-6, 1e-4, 1e-2, 1.0, 1e2]))
    axes.xaxis.set_minor_locator(LogLocator(10.0, numticks=12))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, loc="left", fontsize=10)


def _legend() -> list[Line2D]:
    """One entry a method, and what the marks are."""
    from matplotlib.lines import Line2D

    styles = [(each.varied, _style(each)) for each in SUBJECTS]
    handles = [Line2D([], [], color=s.colour, linestyle=s.dashes, linewidth=1.6, label=text) for text, s in styles]
    grey = "#555555"
    return [
        *handles,
        Line2D([], [], color=grey, marker="o", markerfacecolor="white", linestyle="none", label="default"),
    ]


def _style(subject: Subject) -> LineStyle:
    """That of the method in other figures."""
    from curvestep.report.style import line_style

    return line_style(subject.colour, False)
