"""The figures of the overhead: ratios of times on every network, and how they grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.overhead.order import in_order, named
from benchmarks.overhead.row import OverheadRow, machines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#222222"
_GREY = "#888888"
_MARKERS = "osD^vPX"


def figure_name(index: int) -> str:
    """Name of the figure of the machine with this number, without its ending."""
    return "overhead" if index == 0 else f"overhead-{index + 1}"


def growth_name(index: int) -> str:
    """Name of the figure of how the cost grows on the machine with this number, without its ending."""
    return f"{figure_name(index)}-growth"


def write_figures(rows: Sequence[OverheadRow], folder: Path) -> tuple[Path, ...]:
    """Two figures a machine at most: a panel a network with a line a variant, and a panel a size that is varied.

    Args:
        rows: of any machines.
        folder: made if it is not there.

    Returns:
        The files, PNG and SVG of each figure.
    """
    import matplotlib

    from curvestep.report.figure import STYLE, save

    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for index, machine in enumerate(machines(rows)):
            own = in_order([row for row in rows if row.machine == machine and row.median is not None])
            parts: tuple[tuple[str, list[OverheadRow], Callable[[Sequence[OverheadRow]], Any]], ...] = (
                (figure_name(index), [row for row in own if not row.axis], _figure),
                (growth_name(index), [row for row in own if row.axis], _growth),
            )
            for name, part, draw in parts:
                if not part:
                    continue
                drawn = draw(part)
                written += save(drawn, folder / name, 160)
    return tuple(written)


def _figure(rows: Sequence[OverheadRow]) -> Any:
    """The figure of one machine."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.subject for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    columns = min(3, len(cases))
    lines = math.ceil(len(cases) / columns)
    size = (2.4 + 2.9 * columns, lines * (0.7 + 0.2 * len(methods)))
    drawn = Figure(figsize=size, layout="constrained")
    grid = drawn.subplots(lines, columns, sharey=True, squeeze=False)
    cells: list[Axes] = list(grid.flat)
    for axes, case in zip(cells, cases, strict=False):
        found = {row.method: row for row in rows if row.subject == case}
        for place, method in enumerate(methods):
            row = found.get(method)
            if row is None or row.low is None or row.median is None or row.high is None:
                continue
            colour = _colour(method)
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([row.median], [place], marker="o", markersize=4.5, color=colour, linestyle="none")
        axes.axvline(1.0, color=_INK, linewidth=0.8)
        axes.set_title(case, loc="left", fontsize=9)
        axes.set_yticks(range(len(methods)), labels=methods)
        axes.set_xlim(left=min(0.8, *(0.95 * row.low for row in found.values() if row.low is not None)))
    for axes in cells[len(cases) :]:
        axes.set_visible(False)
    cells[0].invert_yaxis()  # shared by all
    drawn.supxlabel("time of a step over that of a plain one: median and quartiles", fontsize=9)
    return drawn


def _growth(rows: Sequence[OverheadRow]) -> Any:
    """How the ratio changes with each size that is varied."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    axes_names = list(dict.fromkeys(row.axis for row in rows))
    methods = named(rows)
    drawn = Figure(figsize=(3.0 * len(axes_names) + 0.6, 3.9), layout="constrained")
    grid = drawn.subplots(1, len(axes_names), sharey=True, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for panel, axis in zip(panels, axes_names, strict=True):
        values = sorted({row.value for row in rows if row.axis == axis})
        for place, method in enumerate(methods):
            own = sorted((row for row in rows if (row.axis, row.method) == (axis, method)), key=lambda row: row.value)
            at = [row.value for row in own]
            colour = _colour(method)
            panel.plot(
                at, [row.median or math.nan for row in own], label=method, color=colour, linewidth=1.4,
                marker=_MARKERS[place % len(_MARKERS)], markersize=4.5,
                linestyle="--" if "¼" in method else "-",
            )  # fmt: skip
            low, high = ([getattr(row, side) or math.nan for row in own] for side in ("low", "high"))
            panel.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.axhline(1.0, color=_INK, linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(values, labels=[str(value) for value in values])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel(axis)
    panels[0].set_ylabel("time over that of a plain step")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False, fontsize=9)
    return drawn


def _colour(method: str) -> str:
    """Ours by optimizer, others grey."""
    ours = {"Auto": "#D55E00", "RescaledAdam": "#CC79A7", "RescaledSGD": "#0072B2", "LQA": "#009E73", "GeN": "#E69F00"}
    return next((colour for name, colour in ours.items() if method.startswith(name)), _GREY)
