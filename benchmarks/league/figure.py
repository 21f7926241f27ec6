"""The league's figures: ratios by problem, and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.league.methods import ADAMW
from benchmarks.league.page import scores
from benchmarks.league.score import Key, Scores, calibrated
from benchmarks.league.split import HALVES, half
from benchmarks.league.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, as in the other figures; methods that are not named here are grey.
_COLOURS = {
    "auto": "#332288",
    "auto-uncurved": "#56B4E9",
    "schedule-free": "#E69F00",
    "prodigy": "#009E73",
    "mechanic": "#CC79A7",
    "momo-adam": "#D55E00",
}
_GREY = "#BBBBBB"
_LEAST, _MOST = 0.3, 10.0
_CALIBRATED = "AdamW at the one best rate"


def write_figures(trials: Mapping[Key, Trial], folder: Path) -> tuple[Path, ...]:
    """Draw a figure for each half whose runs are whole.

    Args:
        trials: of the store, by key.
        folder: gets `league-HALF.png` and `.svg`.

    Returns:
        The files.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from curvestep.report.figure import STYLE, save

    written: list[Path] = []
    for name in (row.name for row in HALVES):
        found = scores(trials, name)
        if found is None:
            continue
        with matplotlib.rc_context(STYLE):
            drawn = Figure(figsize=(10.0, 5.6), layout="constrained")
            left, right = drawn.subplots(1, 2, width_ratios=(1.4, 1.0))
            _ratios(left, found[0], name)
            _scores(right, found[0], found[1])
            written += save(drawn, folder / f"league-{name}", 130)
    return tuple(written)


def _ratios(axes: Axes, found: Scores, name: str) -> None:
    """A row a problem, a point a method."""
    problems = sorted(half(name), key=lambda p: -found.ratios.get("auto", found.ratios[ADAMW[0]])[p])
    for method in sorted(found.ratios, key=lambda m: m in _COLOURS):
        if method in ADAMW:
            continue
        row = [min(max(found.ratios[method][p], _LEAST), _MOST) for p in problems]
        front = method in _COLOURS
        axes.plot(
            row,
            range(len(problems)),
            linestyle="none",
            marker="D" if method == "auto" else "o",
            markersize=7 if method == "auto" else 5 if front else 3.5,
            color=_COLOURS.get(method, _GREY),
            label=method if front else None,
            clip_on=False,
        )
    axes.axvline(1.0, color="#444444", linewidth=0.9)
    axes.set(xscale="log", xlim=(_LEAST, _MOST))
    axes.set_yticks(range(len(problems)), labels=problems)
    ticks = (0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
    axes.set_xticks(ticks, labels=["≤ 0.3", "0.5", "1", "2", "5", "≥ 10"])
    axes.xaxis.minorticks_off()
    axes.set_xlabel("held-out loss over that of AdamW at its best rate for the problem")
    axes.set_title(f"{name} half: one point a method (grey: the others)", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(-0.25, -0.1), ncols=6, columnspacing=1.0)


def _scores(axes: Axes, found: Scores, methods: list[str]) -> None:
    """A bar a method: its geometric mean; beside it its profile in steps."""
    one = calibrated(found)
    shown = [m for m in methods if m not in ADAMW or m == one]
    shown.sort(key=lambda m: -found.geometric[m])
    for place, method in enumerate(shown):
        value = found.geometric[method]
        axes.barh(place, math.log(value), left=0.0, height=0.62, color=_COLOURS.get(method, _GREY))
        text = f"{value:.2f}   profile {found.profile_steps[method]:.2f}"
        axes.text(max(math.log(value), 0.0) + 0.03, place, text, va="center", fontsize=8)
    axes.axvline(0.0, color="#444444", linewidth=0.9)
    axes.set_yticks(range(len(shown)), labels=[_CALIBRATED if m == one else m for m in shown])
    axes.set_xticks([math.log(x) for x in (0.8, 1.0, 1.5, 2.0, 4.0, 8.0)], labels=["0.8", "1", "1.5", "2", "4", "8"])
    highest = max(math.log(found.geometric[m]) for m in shown)
    axes.set_xlim(min(-0.25, *(math.log(found.geometric[m]) for m in shown)), highest + 1.0)
    axes.set_title("geometric mean of the ratios", loc="left", fontsize=10)
