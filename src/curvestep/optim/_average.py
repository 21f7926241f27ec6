"""An average of the parameters over a run, and the parameters of a model exchanged for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from curvestep import _numerics
from curvestep._numerics import as_dtype, working_dtype
from curvestep._shards import forget_gathered, local, locals_of

#: Name in ``optimizer.state[p]`` of the averaged parameter; float32 or wider.
AVERAGE = "average"
#: Name in every parameter group of γ, the option that turns the average on.
AVERAGING = "averaging"
#: Name in ``optimizer.state[p]`` of what the average was at the beginning of the window.
WINDOW_START = "window_start"
#: Name in every parameter group of the growth of windows; where it is an option, their beginnings are kept.
WINDOW_GROWTH = "window_growth"


def weight(step: int, gamma: float) -> float:
    """Return w_k = (γ + 1) / (k + γ), so that x̄ ← (1 − w) x̄ + w x averages with weights ∝ k^γ for whole γ.

    Args:
        step: k, at least 1; w_1 = 1, which forgets the value before training.
        gamma: γ, at least 0; 0 is the plain mean. The larger, the shorter the part of the run that counts.

    Example:
        >>> [round(weight(k, 8.0), 3) for k in (1, 10, 100)]
        [1.0, 0.5, 0.083]
    """
    return (gamma + 1.0) / (step + gamma)


def check_gamma(gamma: Any) -> None:
    """Refuse a γ that is not a finite number of at least 0."""
    number = isinstance(gamma, (int, float)) and not isinstance(gamma, bool)
    if not (number and math.isfinite(gamma) and gamma >= 0.0):
        msg = (
            "averaging is γ of the averaged weights and must be a finite number of at least 0, or None for no average, "
            f"but averaging={gamma!r} was given."
        )
        raise ValueError(msg)


def starts(parameters: Sequence[Tensor], states: Any) -> dict[Tensor, Tensor]:
    """Return copies of the parameters that have no average yet: what they are before they move for the first time."""
    new = [parameter for parameter in parameters if AVERAGE not in states.get(parameter, ())]
    return {p: local(p).detach().to(working_dtype(p.dtype), copy=True) for p in new}


@torch.no_grad()
def absorb(
    parameters: Sequence[Tensor],
    states: Any,
    begun: dict[Tensor, Tensor],
    step: int,
    gamma: float,
    *,
    windowed: bool = False,
) -> None:
    """Absorb the parameters into their averages; one that has never moved needs none."""
    for parameter, start in begun.items():
        states[parameter][AVERAGE] = start
        if windowed:
            states[parameter][WINDOW_START] = start.clone()
    averages, present = [], []
    for parameter in parameters:
        state = states.get(parameter)
        if state and AVERAGE in state:
            averages.append(state[AVERAGE])
            present.append(as_dtype(local(parameter), state[AVERAGE].dtype))
    _numerics.lerp_(averages, present, weight(step, gamma))


@contextmanager
def exchanged(parameters: Sequence[Tensor], states: Any) -> Iterator[None]:
    """Put the averages into the parameters' own storage for the time of the block; bit for bit undone after it."""
    held = [parameter for parameter in parameters if AVERAGE in states.get(parameter, {})]
    places = locals_of(held)
    own = [place.detach().clone() for place in places]
    with torch.no_grad():
        for parameter, place in zip(held, places, strict=True):
            place.copy_(states[parameter][AVERAGE])
    forget_gathered(held)
    try:
        yield
    finally:
        with torch.no_grad():
            for place, former in zip(places, own, strict=True):
                place.copy_(former)
        forget_gathered(held)
