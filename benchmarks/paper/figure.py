"""The figures, from the runs alone: panels side by side over epochs, and a second one over what was spent."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.paper.curves import Axis, over_cost, over_epochs
from benchmarks.paper.plan import Figure, Line, Panel, Quantity
from benchmarks.paper.store import line_runs
from curvestep.bench.record import RunRecord
from curvestep.bench.tasks import get_task
from curvestep.report.figure import STYLE, save
from curvestep.report.series import Curve
from curvestep.report.style import LineStyle, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_COLUMN_INCHES, _ROW_INCHES = 3.3, 2.0
_TITLES: dict[Quantity, str] = {
    "loss": "loss of the batches, EMA",
    "step": "step size, EMA",
    "test_loss": "test loss",
    "accuracy": "test accuracy",
    "descent": "share of steps that descend, q",
}
_LOGARITHMIC = ("loss", "step", "test_loss")
_COSTS: dict[Axis, str] = {"gradients": "gradients of a batch, tuning included", "seconds": "seconds, tuning included"}
# Sizes and values of β₃ go from dark red to dark green, none of them near the colours of Auto and AdamW.
_SCALE = ("#67000D", "#CB181D", "#FB6A4A", "#F0A500", "#A1C935", "#41AB5D", "#006D2C")
# The names that the palette of methods lacks.
_OWN = {
    "ran-rmsprop": "#882255",
    "red-sgd-heavy": "#D55E00",
    "red-sgd-momentum": "#D55E00",
    "red-adam-heavy": "#009E73",
    "red-adam-tenth": "#009E73",
    "sgd-momentum": "#E69F00",
    "adam-momentum": "#0072B2",
    "sgd-robbins-monro": "#661100",
}
# Of a run's beginning this share does not decide the limits: a first step too long would flatten the rest.
_BEGINNING = 0.1
# A loss so many times above that of the middle line is not shown, or the others would lie on each other.
_ABOVE_OTHERS = 1.5


def write_figures(
    figures: Sequence[Figure], runs: Mapping[str, RunRecord], folder: Path, stem: str = "paper"
) -> list[Path]:
    """Draw what there is of some figures.

    Args:
        figures: of the plan.
        runs: by key.
        folder: where the files go.
        stem: beginning of their names, that of the page.

    Returns:
        The files, PNG and SVG; none of a figure without a run.
    """
    import matplotlib

    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for figure in figures:
            if not any(line_runs(line, runs) for panel in figure.panels for line in panel.lines):
                continue
            for name, drawing in (
                (f"{stem}-{figure.name}", _epochs(figure, runs)),
                (f"{stem}-{figure.name}-cost", _costs(figure, runs)),
            ):
                written += save(drawing, folder / name, 120)
    return written


def _epochs(figure: Figure, runs: Mapping[str, RunRecord]) -> Drawing:
    """A row a quantity."""
    rows = [(_TITLES[quantity], quantity in _LOGARITHMIC, _quantity(quantity, runs)) for quantity in figure.quantities]
    return _drawn(figure, runs, rows, ["epoch"] * len(rows))


def _costs(figure: Figure, runs: Mapping[str, RunRecord]) -> Drawing:
    """The training loss over each cost."""
    rows = [("training loss", True, _spending(axis, runs)) for axis in _COSTS]
    return _drawn(figure, runs, rows, list(_COSTS.values()))


def _quantity(quantity: Quantity, runs: Mapping[str, RunRecord]) -> Callable[[Line], Curve]:
    return lambda line: over_epochs(line_runs(line, runs), quantity)


def _spending(axis: Axis, runs: Mapping[str, RunRecord]) -> Callable[[Line], Curve]:
    return lambda line: over_cost(line, runs, axis)


def _drawn(
    figure: Figure,
    runs: Mapping[str, RunRecord],
    rows: Sequence[tuple[str, bool, Callable[[Line], Curve]]],
    below: Sequence[str],
) -> Drawing:
    """A grid of axes: a column a panel, a row a curve."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    styles = _styles(figure)
    columns = len(figure.panels)
    wide = 1.6 if columns == 1 else 1.0
    width = _COLUMN_INCHES * wide * columns + 0.3
    legend_columns = max(2, min(len(styles), int(width / 1.7)))
    legend = 0.2 * math.ceil(len(styles) / legend_columns) + 0.15
    separate = len(set(below)) > 1
    height = (_ROW_INCHES + (0.25 if separate else 0.0)) * len(rows) + 0.6 + legend
    engine = ConstrainedLayoutEngine(rect=(0, legend / height, 1, 1 - legend / height))
    drawing = Drawing(figsize=(width, height), layout=engine)
    grid = drawing.subplots(len(rows), columns, squeeze=False)
    seen: dict[str, Any] = {}
    for row, (title, logarithmic, curve) in enumerate(rows):
        for column, panel in enumerate(figure.panels):
            axes: Axes = grid[row][column]
            _panel(
                axes,
                panel,
                styles,
                curve,
                seen,
                logarithmic=logarithmic,
                accuracy=title == _TITLES["accuracy"],
                losses="loss" in title,
            )
            axes.set_title(title, loc="left", fontsize=9, pad=3)
            if axes.lines:
                axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            if separate or row == len(rows) - 1:
                axes.set_xlabel(below[row])
            if row == 0:
                axes.annotate(
                    panel.title,
                    (0, 1),
                    xycoords="axes fraction",
                    xytext=(0, 19),
                    textcoords="offset points",
                    fontsize=10,
                    fontweight="bold",
                )
    names = [label for label in styles if label in seen]
    drawing.legend(
        [seen[name] for name in names],
        [_name(name, figure, runs) for name in names],
        loc="lower center",
        ncols=legend_columns,
        frameon=False,
        fontsize=8.5,
        handlelength=2.4,
    )
    return drawing


def _name(label: str, figure: Figure, runs: Mapping[str, RunRecord]) -> str:
    """The label, and whether some of its runs ended early or are missing."""
    own = [line for panel in figure.panels for line in panel.lines if line.label == label]
    ends = [run for line in own for run in line_runs(line, runs)]
    tuned = ", tuned" if any(line.tuned for line in own) else ""
    lost = sum(run.diverged_at is not None for run in ends)
    return f"{label}{tuned}" + (f" (×: {lost} of {len(ends)} diverged)" if lost else "")


def _styles(figure: Figure) -> dict[str, LineStyle]:
    """Label → style: the method's own, or a place on a scale for lines that differ in a number."""
    lines = list({line.label: line for panel in figure.panels for line in panel.lines}.values())
    scaled = sorted(
        (line for line in lines if _scaled(line)), key=lambda line: -line.wish.batch_size if line.wish.batch_size else 0
    )
    places = {line.label: index for index, line in enumerate(scaled)}
    styles: dict[str, LineStyle] = {}
    for line in [*scaled, *(line for line in lines if not _scaled(line))]:
        if line.label in places:
            spread = (len(_SCALE) - 1) / max(len(scaled) - 1, 1)
            styles[line.label] = LineStyle(_SCALE[round(places[line.label] * spread)], "solid")
        elif line.method in _OWN:
            styles[line.label] = LineStyle(_OWN[line.method], line_style(line.method, line.tuned).dashes)
        else:
            styles[line.label] = line_style(line.method, line.tuned)
    return styles


def _scaled(line: Line) -> bool:
    """Whether a line is one of several of its method, told apart by a number."""
    return line.label != line.method and line.method not in ("auto", "adamw")


def _panel(
    axes: Axes,
    panel: Panel,
    styles: Mapping[str, LineStyle],
    curve: Callable[[Line], Curve],
    seen: dict[str, Any],
    *,
    logarithmic: bool,
    accuracy: bool,
    losses: bool,
) -> None:
    """All lines of a panel."""
    if logarithmic:
        axes.set_yscale("log")
    drawn: list[Curve] = []
    for mark in panel.marks:
        axes.axvline(mark, color="#999999", linewidth=0.9, zorder=0.5)
    for line in panel.lines:
        found = curve(line)
        if not found.x:
            continue
        style = styles[line.label]
        drawn.append(found)
        axes.fill_between(found.x, found.low, found.high, color=style.colour, alpha=0.15, linewidth=0)
        (handle,) = axes.plot(found.x, found.mean, color=style.colour, linestyle=style.dashes, linewidth=1.5)
        seen.setdefault(line.label, handle)
        if found.broken:
            axes.plot(found.x[-1], found.mean[-1], marker="X", color=style.colour, markersize=6, clip_on=False)
    if not drawn:
        accurate = any(get_task(line.wish.task).has_accuracy for line in panel.lines)
        text = "no runs yet" if accurate or not accuracy else "this task has no accuracy"
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#777777")
        axes.set(xticks=[], yscale="linear", yticks=[])
        return
    _limits(axes, drawn, logarithmic=logarithmic, losses=losses)
    top = axes.get_ylim()[1]
    for line, found in zip((line for line in panel.lines if curve(line).x), drawn, strict=True):
        # What lies above the panel for the whole run is said at its upper edge.
        if losses and min(found.mean) > top:
            axes.plot(
                found.x[len(found.x) // 2], top, "^", color=styles[line.label].colour, markersize=7, clip_on=False
            )


def _limits(axes: Axes, curves: Sequence[Curve], *, logarithmic: bool, losses: bool) -> None:
    """Vertical limits from what comes after the beginning."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    late = [slice(int(_BEGINNING * len(curve.x)), None) for curve in curves]
    lows = [value for curve, part in zip(curves, late, strict=True) for value in curve.low[part]]
    # The mean and not the range: one seed that ran away would flatten the others.
    highs = [value for curve, part in zip(curves, late, strict=True) for value in curve.mean[part]]
    if not logarithmic:
        low, high = min(lows), max(highs)
        span = max(high - low, 1e-3)
        axes.set_ylim(low - 0.06 * span, high + 0.08 * span)
        return
    lows = [value for value in lows if value > 0.0]
    highs = [value for value in highs if value > 0.0]
    if not lows or not highs:
        return
    low, high = min(lows), max(highs)
    if losses:
        tops = [max(curve.mean[part]) for curve, part in zip(curves, late, strict=True)]
        high = min(high, _ABOVE_OTHERS * statistics.median_low(tops))
    margin = max((high / low) ** 0.06, 1.05)
    axes.set_ylim(low / margin, high * margin)
    decades = math.log10(high / low * margin**2)
    parts = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if decades < 0.7 else (1.0, 2.0, 5.0) if decades < 1.7 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=parts, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
