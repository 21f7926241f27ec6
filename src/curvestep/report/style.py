"""Colours and line styles of methods: one colour a method in every figure, told apart by colour-blind readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Okabe & Ito's palette; the benchmark's own figure has SGD orange, RMSprop blue and their rescaled forms red and green.
_COLOURS = {
    "sgd": "#E69F00",
    "rmsprop": "#0072B2",
    "adamw": "#56B4E9",
    "red-sgd": "#D55E00",
    "red-rmsprop": "#009E73",
    "red-adam": "#CC79A7",
    "ran-sgd": "#000000",
}
_OTHER_COLOURS = ("#332288", "#882255", "#999933", "#44AA99", "#117733", "#AA4499")

Dashes = Literal["solid"] | tuple[int, tuple[float, float]]


@dataclass(frozen=True)
class LineStyle:
    """How a method is drawn.

    Args:
        colour: of line and band.
        dashes: matplotlib's line style; methods that need a learning rate are dashed.
    """

    colour: str
    dashes: Dashes


def line_style(method: str, needs_lr: bool) -> LineStyle:
    """The style of a method.

    Args:
        method: its name.
        needs_lr: whether its runs had a learning rate.

    Returns:
        The style, the same in every figure.
    """
    colour = _COLOURS.get(method) or _OTHER_COLOURS[sum(method.encode()) % len(_OTHER_COLOURS)]
    return LineStyle(colour, (0, (4.0, 1.2)) if needs_lr else "solid")
