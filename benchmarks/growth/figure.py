"""The figure of the growth: ratios by size, and the model on sizes that it has not seen; from the rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.growth.fit import STEPS, fit, of_step, plain_of
from benchmarks.growth.page import VARIANTS
from benchmarks.growth.plan import AXES, HELD_OUT, LONG, PLACES, Axis, Variant
from benchmarks.growth.row import GrowthRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: dict[Variant, str] = {
    "whole": "#D55E00",
    "quarter": "#E69F00",
    "split": "#009E73",
    "quarter-split": "#332288",
}
_MARKERS: dict[Variant, str] = {"whole": "o", "quarter": "s", "split": "D", "quarter-split": "^"}
_LABELS: dict[Axis, str] = {
    "width": "width w",
    "depth": "blocks L",
    "batch": "sequences in a batch B",
    "length": "tokens in a sequence T",
    "all": "parameters N",
}


def write_figure(rows: Sequence[GrowthRow], stem: Path) -> tuple[Path, ...]:
    """Draw ratios of times and of peaks over each size, the products' dotted, and model against measurement.

    Args:
        rows: of one machine.
        stem: path of the files without their ending.

    Returns:
        The files, PNG and SVG.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from curvestep.report.figure import STYLE, save

    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(12.4, 6.2), layout="constrained")
        grid = drawn.subplots(2, len(AXES) + 1, squeeze=False)
        for column, axis in enumerate(AXES):
            _ratios(grid[0][column], rows, axis, "time")
            _ratios(grid[1][column], rows, axis, "peak")
            grid[1][column].set_xlabel(_LABELS[axis])
        grid[0][0].set_title("time over a plain step's (dotted: products)", loc="left", fontsize=9)
        grid[1][0].set_title("peak of bytes over a plain step's", loc="left", fontsize=9)
        _model(grid[0][-1], rows, "time")
        _model(grid[1][-1], rows, "peak")
        handles = [
            Line2D([], [], color=_COLOURS[variant], marker=_MARKERS[variant], markersize=4.5, label=text)
            for variant, text in VARIANTS.items()
        ]
        drawn.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        return save(drawn, stem, 130)


def _ratios(axes: Axes, rows: Sequence[GrowthRow], axis: Axis, what: str) -> None:
    """The ratios of each variant over one size."""
    from matplotlib.ticker import NullLocator

    found = {(row.size, row.variant): row for row in rows}
    ticks: list[int] = []
    for variant in VARIANTS:
        places = [place for place in PLACES if place.axis == axis and (place.size, variant) in found]
        own = [found[place.size, variant] for place in places]
        values = [place.value for place in places]
        ticks = values or ticks
        style = {"color": _COLOURS[variant], "marker": _MARKERS[variant], "markersize": 4.0, "linewidth": 1.3}
        if what == "time":
            axes.plot(values, [row.median for row in own], **style)  # pyright: ignore[reportArgumentType]
            axes.fill_between(
                values,
                [row.low for row in own],
                [row.high for row in own],
                color=_COLOURS[variant],
                alpha=0.15,
                linewidth=0,
            )
            axes.plot(
                values, [row.products / row.plain_products for row in own], ":", color=_COLOURS[variant], linewidth=1.2
            )
        else:
            axes.plot(values, [row.peak / row.plain_peak for row in own], **style)  # pyright: ignore[reportArgumentType]
    axes.axhline(1.0, color="#222222", linewidth=0.8)
    axes.set_ylim(bottom=0.8)
    if not ticks:
        return
    axes.set_xscale("log", base=10 if axis == "all" else 2)
    if axis != "all":
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())


def _model(axes: Axes, rows: Sequence[GrowthRow], what: str) -> None:
    """Model over measurement: filled on the held-out sizes, faint on those of the fit."""
    if not {*(place.size for place in PLACES), *LONG} <= {row.size for row in rows}:
        axes.set_visible(False)
        return
    models = {step: fit(rows, "seconds" if what == "time" else "peak", step) for step in STEPS}
    ends: list[float] = []
    for variant in VARIANTS:
        for row in of_step(rows, variant):
            model = models[variant](row.size) / models[plain_of(variant)](row.size)
            measured = row.median if what == "time" else row.peak / row.plain_peak
            ends += [model, measured]
            alpha = 0.95 if row.size in HELD_OUT else 0.2
            axes.plot([measured], [model], _MARKERS[variant], color=_COLOURS[variant], markersize=4.5, alpha=alpha)
    low, high = 0.9 * min(ends), 1.1 * max(ends)
    axes.plot([low, high], [low, high], color="#888888", linewidth=0.8)
    axes.set_title("model (dark: held out)", loc="left", fontsize=9)
    axes.set_xlabel("measured ratio")
