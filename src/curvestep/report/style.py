"""Colours and line styles of methods: one colour a method in every figure, told apart by colour-blind readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Okabe & Ito's palette, then Tol's muted one. The benchmark's own figure has SGD orange, RMSprop blue, their rescaled
# forms red and green. Variants of a method have its colour and dots of their own.
_COLOURS = {
    "auto": "#332288",
    "sgd": "#E69F00",
    "rmsprop": "#0072B2",
    "adamw": "#56B4E9",
    "red-sgd": "#D55E00",
    "red-rmsprop": "#009E73",
    "red-adam": "#CC79A7",
    "ran-sgd": "#000000",
    "half-adam": "#882255",
    "lqa": "#117733",
    "gen": "#44AA99",
    "alig": "#999933",
    "step-tuned": "#AA4499",
    "eg-sgd": "#661100",
    "eg-adam": "#6699CC",
    "egdd": "#888888",
    # the grid of measurements has figures of its own, in Brewer's Dark2
    "ceiling-1-all": "#1B9E77",
    "ceiling-16-quarter-0.9": "#D95F02",
    "ceiling-16-quarter-0.8": "#7570B3",
    "ceiling-16-quarter-0.7": "#E7298A",
    "ceiling-32-quarter-0.5": "#66A61E",
}
_OTHER_COLOURS = ("#444444", "#AA4466", "#4477AA")

Dashes = Literal["solid"] | tuple[int, tuple[float, ...]]
_NEEDS_RATE: Dashes = (0, (4.0, 1.2))
_VARIANTS: tuple[Dashes, ...] = (
    (0, (1.0, 1.0)),
    (0, (6.0, 1.5, 1.0, 1.5)),
    (0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)),
    (0, (8.0, 2.0)),
)
_SUFFIXES = {
    "ggn": 0,
    "geometric": 3,
    "guard": 1,
    "smoothed": 2,
    "momentum": 1,
    "averaged": 2,
    "uncurved": 0,
    "ceiling": 1,
}


@dataclass(frozen=True)
class LineStyle:
    """How a method is drawn."""

    colour: str  # of line and band
    dashes: Dashes  # matplotlib's line style; methods that need a learning rate are dashed, variants dotted


def line_style(method: str, needs_lr: bool) -> LineStyle:
    """Return the style of a method, the same in every figure."""
    family, _, suffix = method.rpartition("-")
    if method not in _COLOURS and family in _COLOURS and suffix in _SUFFIXES:
        return LineStyle(_COLOURS[family], _VARIANTS[_SUFFIXES[suffix]])
    colour = _COLOURS.get(method) or _OTHER_COLOURS[sum(method.encode()) % len(_OTHER_COLOURS)]
    return LineStyle(colour, _NEEDS_RATE if needs_lr else "solid")
