"""The figure of the experiments on open regimes, from their rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.regimes import plan
from benchmarks.regimes.row import RegimeRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, as in the other figures.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")
_HIGHEST = 10.0  # losses above it, and those that are not finite, are drawn there
_HIGHEST_TWIN = 4.0
_AWAY: dict[str, Any] = {"marker": "x", "color": "black", "markersize": 8, "linestyle": "none", "markeredgewidth": 1.4}


def write_figure(rows: Sequence[RegimeRow], stem: Path) -> tuple[Path, ...]:
    """Draw what there is of the four experiments.

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
        drawn = Figure(figsize=(9.6, 13.0), layout="constrained")
        grid: list[Axes] = list(drawn.subplots(4, 2).flat)
        _overshoot(grid[0], rows)
        _twins(grid[1], rows)
        for axes, method in zip(grid[2:4], ("red-sgd", "red-adam"), strict=True):
            _batches(axes, rows, method)
        pairs = (("digits", "adam"), ("digits", "sgd"), ("gpt", "adam"), ("gpt", "sgd"))
        for axes, (problem, way) in zip(grid[4:], pairs, strict=True):
            _momentum(axes, rows, problem, way)
        return save(drawn, stem, 130)


def _overshoot(axes: Axes, rows: Sequence[RegimeRow]) -> None:
    """Loss over steps with each guard, where the curvature at the start misleads."""
    names = {0: "no guard", 1: "every step", 4: "every 4th"}
    for colour, (guard, name) in zip(_COLOURS, names.items(), strict=False):
        for row in rows:
            if row.experiment == "overshoot" and (row.case["surface"], row.case["guard"]) == ("root", guard):
                axes.plot([x + 1 for x, _ in row.curve], [y for _, y in row.curve], color=colour, label=name)
    axes.set(xscale="log", yscale="log")
    _finish(axes, "√(1 + θ²) from 1000: loss", "step + 1")


def _batches(axes: Axes, rows: Sequence[RegimeRow], method: str) -> None:
    """Loss over the size of the batch, for each remedy."""
    own = [row for row in rows if row.experiment == "batches" and row.case["method"] == method]
    for colour, remedy in zip(_COLOURS, ("plain", "memory", "average", "both"), strict=False):
        _line(axes, [row for row in own if row.case["remedy"] == remedy], "size", colour, remedy)
    axes.axvline(10.0, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xscale("log", base=2)
    _finish(axes, f"{method}: training loss (dotted: 10 classes; ×: above 10, or not finite)", "samples in a batch")


def _twins(axes: Axes, rows: Sequence[RegimeRow]) -> None:
    """The loss with ReLU beside that of the twin with softplus."""
    own = [row for row in rows if row.experiment == "relu"]
    loss = {tuple(row.case.values()): _drawn(row, _HIGHEST_TWIN) for row in own}
    for marker, net in zip("os", ("vgg", "resnet"), strict=True):
        for colour, form in zip(_COLOURS, ("exact", "ggn", "floor"), strict=False):
            points: list[tuple[float, float]] = []
            for row in own:
                case = {**row.case, "activation": "relu"}
                other = loss.get(tuple(case.values()))
                if row.case["activation"] == "softplus" and other is not None:
                    if (row.case["net"], row.case["form"]) == (net, form):
                        points.append((_drawn(row, _HIGHEST_TWIN), other))
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker, color=colour, label=f"{net}, {form}", markersize=5, alpha=0.8)
                away = [point for point in points if max(point) >= _HIGHEST_TWIN]
                if away:
                    axes.plot(*zip(*away, strict=True), **_AWAY)
    ends = [value for value in loss.values()] or [1.0, 2.0]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#888888", linewidth=0.8)
    axes.set_ylabel("loss with ReLU")
    _finish(axes, "ReLU and softplus: training loss (×: above 4, or not finite)", "loss with softplus")


def _momentum(axes: Axes, rows: Sequence[RegimeRow], problem: str, way: str) -> None:
    """Loss over ℓ for each kind of step."""
    own = [row for row in rows if row.experiment == "momentum"]
    own = [row for row in own if (row.case["problem"], row.case["way"]) == (problem, way)]
    for colour, step in zip(_COLOURS, ("absolute", "signed", "smoothed", "span", "layers"), strict=True):
        _line(axes, [row for row in own if row.case["step"] == step], "ell", colour, step)
    if problem == "gpt":  # less than a tenth between the lowest and the highest
        axes.set_yscale("linear")
    axes.set_xscale("log")
    axes.set_xticks(plan.LEVELS, labels=[f"{ell:g}" for ell in plan.LEVELS])
    axes.xaxis.minorticks_off()
    _finish(axes, f"{problem}, {way} with momentum: training loss (×: above 10)", "ℓ")


def _line(axes: Axes, rows: Sequence[RegimeRow], over: str, colour: str, label: str) -> None:
    """Seeds as points, their geometric mean as a line."""
    values: dict[float, list[float]] = {}
    for row in rows:
        values.setdefault(float(row.case[over]), []).append(_drawn(row))
    places = sorted(values)
    if not places:
        return
    means = [math.exp(sum(math.log(value) for value in values[place]) / len(values[place])) for place in places]
    # No line to what is not finite or far above: a cross marks it, at the upper edge.
    shown = [mean if max(values[place]) < _HIGHEST else math.nan for place, mean in zip(places, means, strict=True)]
    axes.plot(places, shown, color=colour, label=label)
    for place in places:
        kept = [value for value in values[place] if value < _HIGHEST]
        axes.plot([place] * len(kept), kept, "o", color=colour, markersize=3.5)
        if len(kept) < len(values[place]):
            axes.plot(place, _HIGHEST, **{**_AWAY, "color": colour})
    axes.set_yscale("log")


def _drawn(row: RegimeRow, highest: float = _HIGHEST) -> float:
    """The loss at the end, or the highest that is drawn."""
    return highest if row.last is None else max(min(row.last, highest), 1e-8)


def _finish(axes: Any, title: str, label: str) -> None:
    """Title, axis and legend."""
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(label)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=7)
