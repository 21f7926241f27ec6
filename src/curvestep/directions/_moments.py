"""Bias-corrected exponential moving averages over lists of tensors: what momentum, RMSprop and Adam share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from curvestep import _numerics
from curvestep._numerics import working_dtype
from curvestep.directions._base import FIRST_MOMENT, SECOND_MOMENT, STEP, State


def zeros(parameter: Tensor) -> Tensor:
    """Return a zero average for a parameter: same shape, layout and device, float32 for 16-bit parameters."""
    return torch.zeros_like(parameter, dtype=working_dtype(parameter.dtype), memory_format=torch.preserve_format)


def check_decay(name: str, value: float) -> None:
    """Refuse a decay rate outside [0, 1)."""
    if not 0.0 <= value < 1.0:
        msg = f"{name} is the decay rate of a moving average and must lie in [0, 1), but {name}={value!r} was given."
        raise ValueError(msg)


def check_eps(value: float) -> None:
    """Refuse an eps that is negative or not finite."""
    if not (math.isfinite(value) and value >= 0.0):
        msg = f"eps is added to a root and must be finite and at least 0, but eps={value!r} was given."
        raise ValueError(msg)


def next_first_moment(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> list[Tensor]:
    """Return m̃ = (β m + (1−β) g) / (1 − β^k) as new tensors."""
    moments = _numerics.lerp([state[FIRST_MOMENT] for state in states], gradients, 1.0 - decay)
    _numerics.divide_each_(moments, [1.0 - decay ** (state[STEP] + 1) for state in states])
    return moments


def next_denominator(gradients: Sequence[Tensor], states: Sequence[State], decay: float, eps: float) -> list[Tensor]:
    """Return √ṽ + ε with ṽ = (β v + (1−β) g²) / (1 − β^k) as new tensors."""
    moments = _numerics.scale([state[SECOND_MOMENT] for state in states], decay)
    _numerics.add_squares_(moments, gradients, 1.0 - decay)
    _numerics.sqrt_(moments)
    _numerics.divide_each_(moments, [math.sqrt(1.0 - decay ** (state[STEP] + 1)) for state in states])
    _numerics.shift_(moments, eps)
    return moments


def advance_first_moment(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> None:
    """Write m ← β m + (1−β) g, with the operations of ``next_first_moment`` so that both agree bit for bit."""
    _numerics.lerp_([state[FIRST_MOMENT] for state in states], gradients, 1.0 - decay)


def advance_second_moment(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> None:
    """Write v ← β v + (1−β) g², with the operations of ``next_denominator`` so that both agree bit for bit."""
    moments = [state[SECOND_MOMENT] for state in states]
    _numerics.scale_(moments, decay)
    _numerics.add_squares_(moments, gradients, 1.0 - decay)


def count_gradient(states: Sequence[State]) -> None:
    """Write k ← k + 1 for each parameter."""
    for state in states:
        state[STEP] += 1
