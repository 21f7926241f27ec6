"""The figure of a method without a rate beside every rate of a rival: one small panel a problem, from their stores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.comparisons.versus import Score, scores
from curvestep.bench.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_METHOD, _RIVAL = "#332288", "#E69F00"
_HIGHEST = 2.0  # as a multiple of the lowest mean: what lies above is drawn at the upper edge


def write_rates(problems: Mapping[str, Sequence[RunRecord]], method: str, rival: str, stem: Path) -> tuple[Path, ...]:
    """Draw the test loss at the end over the rival's rate, and the method's across.

    Args:
        problems: name → runs of both methods.
        method: takes no rate: a line with the range of its seeds.
        rival: points with the range of their seeds.
        stem: path of the files without their ending.

    Returns:
        The files, PNG and SVG.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from curvestep.report.figure import STYLE, save

    rows = -(-len(problems) // _COLUMNS)
    with matplotlib.rc_context({**STYLE, "font.size": 10.0}):
        drawn = Figure(figsize=(3.2 * _COLUMNS, 2.35 * rows + 0.5), layout="constrained")
        grid: list[Axes] = list(drawn.subplots(rows, _COLUMNS, squeeze=False).flat)
        for axes, (name, runs) in zip(grid, problems.items(), strict=False):
            found = scores(runs)
            _panel(axes, found[method][0], found[rival])
            axes.set_title(name, loc="left", fontsize=11)
        for axes in grid[len(problems) :]:
            axes.set_visible(False)
        handles, labels = grid[0].get_legend_handles_labels()
        drawn.legend(
            handles, [f"{method}, no rate", f"{rival} at each rate"], loc="outside lower center", ncols=2, frameon=False
        )
        drawn.supylabel("test loss at the end (▲: more than twice the lowest)", fontsize=10)
        return save(drawn, stem, 120)


def _panel(axes: Axes, own: Score, rivals: Sequence[Score]) -> None:
    """One problem."""
    points = sorted((_rate(score), score) for score in rivals)
    lowest = min(score.mean_held_out for score in [own, *rivals])
    top = _HIGHEST * lowest
    rates = [rate for rate, _ in points]
    drawn = [score.mean_held_out if score.mean_held_out <= top else math.nan for _, score in points]
    axes.axhspan(min(own.held_out), max(own.held_out), color=_METHOD, alpha=0.2, linewidth=0)
    axes.axhline(own.mean_held_out, color=_METHOD, linewidth=2.0, label="method")
    axes.plot(rates, drawn, "o--", color=_RIVAL, linewidth=1.2, markersize=5, label="rival")
    for rate, score in points:
        if score.mean_held_out <= top:
            axes.plot([rate] * 2, [min(score.held_out), min(max(score.held_out), top)], color=_RIVAL, linewidth=1.6)
        else:
            axes.plot(rate, top, "^", color=_RIVAL, markersize=7)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(rates, labels=[f"{rate:g}" for rate in rates], fontsize=8)
    axes.margins(x=0.12, y=0.12)


def _rate(score: Score) -> float:
    """The rate in the label of a setting."""
    return float(score.label.split("lr ")[-1].split(",")[0])
