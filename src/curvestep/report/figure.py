"""The benchmark's figure: one column a task; training loss, step size, test loss and test accuracy below each other."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvestep.report.series import Axis, Curve, Panel, Series
from curvestep.report.style import line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_COLUMN_INCHES = 4.6
_NARROW_INCHES = 3.1
_CHARACTERS_AN_INCH = 16.0  # of small text
_ROW_INCHES = 1.95
_FOLDED_ROW_INCHES = 2.4
_BAND_ALPHA = 0.18
_GREY = "#555555"
_LIGHT = "#B8B8B8"
_OTHER_SETTINGS = "other settings"
# Methods with a colour in one figure, more cannot be told apart: the first by training loss, and these.
_NAMED = 7
_ALWAYS_NAMED = ("auto", "red-adam", "adamw", "sgd")


@dataclass(frozen=True)
class _Row:
    """One row of the figure."""

    title: str
    curve: Callable[[Series, Axis], Curve]
    logarithmic: bool
    needs_accuracy: bool = False


_ROWS = (
    _Row("loss of the batches", lambda series, axis: series.steps_curve("loss_ema", axis), True),
    _Row("step size", lambda series, axis: series.steps_curve("step_size_ema", axis), True),
    _Row("test loss", lambda series, axis: series.epochs_curve("test_loss", axis), True),
    _Row("test accuracy", lambda series, axis: series.epochs_curve("test_accuracy", axis), False, needs_accuracy=True),
)


def write_figures(panels: Sequence[Panel], stem: Path, axes: Sequence[Axis] = ("epoch", "seconds")) -> tuple[Path, ...]:
    """Return the files of the figure over each axis, as PNG and SVG; over seconds their names end in ``-seconds``."""
    import matplotlib

    written: list[Path] = []
    # Names of SVG elements come from a fixed salt.
    with matplotlib.rc_context(STYLE):
        for axis in axes:
            suffix = "" if axis == "epoch" else "-seconds"
            figure = draw(panels, axis)
            written += save(figure, stem.with_name(f"{stem.name}{suffix}"), 160)
    return tuple(written)


def save(figure: Figure, stem: Path, dpi: int) -> tuple[Path, Path]:
    """Write a figure as PNG and SVG, without a date, so that equal numbers give equal files.

    Args:
        figure: what was drawn.
        stem: path of the files without their ending; its folder is made.
        dpi: of the PNG.

    Returns:
        The files.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()  # the layout is solved once, not again for each file
    figure.set_layout_engine("none")
    png, svg = (stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg"))
    figure.savefig(png, dpi=dpi, metadata={"Software": None})
    figure.savefig(svg, dpi=dpi, metadata={"Date": None})
    return png, svg


STYLE: dict[Any, Any] = {
    "svg.hashsalt": "curvestep",
    "svg.fonttype": "path",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "figure.facecolor": "white",
}


def draw(panels: Sequence[Panel], axis: Axis) -> Figure:
    """Return the figure over "epoch" or "seconds", outside pyplot, so that it need not be closed."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = [row for row in _ROWS if not row.needs_accuracy or any(panel.has_accuracy for panel in panels)]
    # Tasks stand side by side with their rows below each other; a single task is folded into two columns.
    folded = len(panels) == 1
    grid_columns = 2 if folded else len(panels)
    grid_rows = math.ceil(len(rows) / 2) if folded else len(rows)
    named = _named(panels)
    handles = _legend(panels, named)
    legend_columns = min(len(handles), 2 * grid_columns if len(handles) > 3 * grid_columns else grid_columns)
    legend_inches = 0.22 * math.ceil(len(handles) / legend_columns) + 0.15
    height = (_FOLDED_ROW_INCHES if folded else _ROW_INCHES) * grid_rows + 1.0 + legend_inches
    engine = ConstrainedLayoutEngine(rect=(0, legend_inches / height, 1, 1 - legend_inches / height))
    # Many columns are narrower, or their text could not be read where the figure is as wide as a page.
    column_inches = _COLUMN_INCHES if grid_columns <= 2 else _NARROW_INCHES
    figure = Figure(figsize=(column_inches * grid_columns + 0.4, height), layout=engine)
    grid = figure.subplots(grid_rows, grid_columns, sharex="col", squeeze=False)
    for column, panel in enumerate(panels):
        cells: list[Axes] = list(grid.flat) if folded else list(grid[:, column])
        for axes, row in zip(cells, rows, strict=False):
            if row.needs_accuracy and not panel.has_accuracy:
                _empty(axes, "this task has no accuracy")
            else:
                _draw_row(axes, panel, row, axis, named)
            axes.set_title(row.title, loc="left", fontsize=9, color="black", pad=3)
        for axes in cells[len(rows) :]:
            _empty(axes, "this task has no accuracy")
        _head(cells[0], panel, int(_CHARACTERS_AN_INCH * (column_inches - 0.6)), rates=not folded)
    for axes in grid[-1]:
        axes.set_xlabel("epoch" if axis == "epoch" else "seconds of training steps")
    figure.legend(
        handles=handles, loc="lower center", ncols=legend_columns, frameon=False, fontsize=9, handlelength=2.6
    )
    return figure


def _named(panels: Sequence[Panel]) -> frozenset[str]:
    """The methods that have a colour and a name: all, or where they are many the first ones and the known ones."""
    methods = [list(dict.fromkeys(series.method for series in panel.series)) for panel in panels]
    everyone = {method for each in methods for method in each}
    if len(everyone) <= _NAMED + len(_ALWAYS_NAMED):
        return frozenset(everyone)
    return frozenset(method for each in methods for method in each[:_NAMED]) | everyone.intersection(_ALWAYS_NAMED)


def _head(axes: Axes, panel: Panel, width: int, *, rates: bool) -> None:
    """The task's name above its column, in small what was run, and the best rates where the legend cannot say them."""
    seeds = "1 seed" if panel.seeds == 1 else f"mean and range of {panel.seeds} seeds"
    best = [series.label for series in panel.series if series.label in panel.leaders and _has_rate(series)]
    lines = textwrap.wrap(f"{panel.subtitle}; {seeds}", width)
    if rates:
        lines += textwrap.wrap("best: " + "; ".join(best), width) if best else [""]
    text = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    top = 23 + 12 * len(lines)
    axes.annotate(panel.title, (0, 1), xytext=(0, top + 1), fontsize=12, fontweight="bold", **text)
    for index, line in enumerate(lines):
        axes.annotate(line, (0, 1), xytext=(0, top - 12 * (index + 1)), fontsize=8, color=_GREY, **text)


def _has_rate(series: Series) -> bool:
    """Whether a learning rate was given to a method."""
    return series.runs[0].config.lr is not None


def _draw_row(axes: Axes, panel: Panel, row: _Row, axis: Axis, named: frozenset[str]) -> None:
    """All series of a panel; the best of each method on top with its band, the others thin below."""
    if row.logarithmic:
        axes.set_yscale("log")
    leading: list[Curve] = []
    # Worst first, so that the best is drawn last and on top.
    for series in reversed(panel.series):
        curve = row.curve(series, axis)
        if not curve.x:
            continue
        style = line_style(series.method, _has_rate(series))
        if series.label not in panel.leaders:
            axes.plot(curve.x, curve.mean, color=style.colour, linestyle=style.dashes, linewidth=0.8, alpha=0.45)
            continue
        if series.method not in named:
            axes.plot(curve.x, curve.mean, color=_LIGHT, linewidth=0.8, zorder=1.5)
            continue
        leading.append(curve)
        axes.fill_between(curve.x, curve.low, curve.high, color=style.colour, alpha=_BAND_ALPHA, linewidth=0)
        axes.plot(curve.x, curve.mean, color=style.colour, linestyle=style.dashes, linewidth=1.8)
        if curve.broken:
            axes.plot(curve.x[-1], curve.mean[-1], marker="X", color=style.colour, markersize=7, clip_on=False)
    _limit(axes, leading, row)


def _limit(axes: Axes, curves: Sequence[Curve], row: _Row) -> None:
    """Vertical limits from the best series of each method, so that a run that went away does not flatten the rest."""
    lows = [value for curve in curves for value in curve.low if value > 0.0 or not row.logarithmic]
    highs = [value for curve in curves for value in curve.high if value > 0.0 or not row.logarithmic]
    if not lows:
        return
    low, high = min(lows), max(highs)
    if row.logarithmic:
        margin = max((high / low) ** 0.06, 1.05)
        axes.set_ylim(low / margin, high * margin)
        _log_ticks(axes, low / margin, high * margin)
        return
    # Accuracies start near chance; what matters lies where the curves end.
    ends = [curve.mean[-1] for curve in curves]
    early = [curve.mean[len(curve.mean) // 10] for curve in curves]
    low = min(*early, *ends) if early else low
    span = max(high - low, 1e-3)
    axes.set_ylim(low - 0.08 * span, high + 0.08 * span)


def _log_ticks(axes: Axes, low: float, high: float) -> None:
    """Plain numbers; inside less than a decade and a half also between the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    decades = math.log10(high / low)
    subs = (1.0, 2.0, 3.0, 5.0, 7.0) if decades < 0.7 else (1.0, 2.0, 5.0) if decades < 1.7 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(LogLocator(base=10.0, subs="auto", numticks=8) if decades < 6 else NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _empty(axes: Axes, text: str) -> None:
    """A cell without curves, which says why."""
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=_GREY, fontsize=9)


def _legend(panels: Sequence[Panel], named: frozenset[str]) -> list[Line2D]:
    """One entry a method, in the order of the best training loss in the first panel it is in."""
    from matplotlib.lines import Line2D

    labels: dict[str, list[str]] = {}
    rates: dict[str, int] = {}
    for panel in panels:
        for series in panel.series:
            if series.label in panel.leaders and series.method in named:
                labels.setdefault(series.method, []).append(series.label)
                rates[series.method] = max(rates.get(series.method, 0), panel.rates(series.method))
    handles: list[Line2D] = []
    for method, names in labels.items():
        style = line_style(method, any("lr" in name for name in names))
        text = names[0] if len(set(names)) == 1 else f"{method}, best rate of each task"
        if rates[method] > 1:
            text += f" (best of {rates[method]})"
        handles.append(Line2D([], [], color=style.colour, linestyle=style.dashes, linewidth=1.8, label=text))
    others = {series.method for panel in panels for series in panel.series} - named
    if others:
        handles.append(Line2D([], [], color=_LIGHT, linewidth=0.8, label=f"{len(others)} others, in the table"))
    if any(count > 1 for count in rates.values()):
        handles.append(Line2D([], [], color=_GREY, linestyle=(0, (4.0, 1.2)), linewidth=0.8, label=_OTHER_SETTINGS))
    if any(series.diverged for panel in panels for series in panel.series if series.label in panel.leaders):
        handles.append(Line2D([], [], color=_GREY, marker="X", linestyle="none", markersize=7, label="a seed diverged"))
    return handles
