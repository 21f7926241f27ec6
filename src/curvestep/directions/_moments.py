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


def bias(decay: float, step: int) -> float:
    """Return 1 − β^k, the sum of the weights of k gradients."""
    return 1.0 - decay**step


def counts(states: Sequence[State]) -> list[int]:
    """Return for each parameter k, the number of its gradients with this one."""
    return [state[STEP] + 1 for state in states]


def first_moments(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> list[Tensor]:
    """Return β m + (1−β) g as new tensors."""
    return _numerics.lerp([state[FIRST_MOMENT] for state in states], gradients, 1.0 - decay)


def first_moments_(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> list[Tensor]:
    """Write m ← β m + (1−β) g, bit for bit what ``first_moments`` returns, and return m."""
    moments = [state[FIRST_MOMENT] for state in states]
    _numerics.lerp_(moments, gradients, 1.0 - decay)
    return moments


def second_moments(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> list[Tensor]:
    """Return β v + (1−β) g² as new tensors."""
    moments = _numerics.scale([state[SECOND_MOMENT] for state in states], decay)
    _numerics.add_squares_(moments, gradients, 1.0 - decay)
    return moments


def second_moments_(gradients: Sequence[Tensor], states: Sequence[State], decay: float) -> list[Tensor]:
    """Write v ← β v + (1−β) g², bit for bit what ``second_moments`` returns, and return v."""
    moments = [state[SECOND_MOMENT] for state in states]
    _numerics.scale_(moments, decay)
    _numerics.add_squares_(moments, gradients, 1.0 - decay)
    return moments


def denominators(moments: Sequence[Tensor], roots: Sequence[float | Tensor], eps: float) -> list[Tensor]:
    """Return √v / √(1 − β^k) + ε as new tensors, from the roots √(1 − β^k)."""
    found = _numerics.sqrt(moments)
    _numerics.divide_each_(found, roots)
    _numerics.shift_(found, eps)
    return found


def follow(states: Sequence[State], moments: dict[str, list[Tensor]]) -> list[State]:
    """Return the states that follow: k + 1, and each moment under its name."""
    return [
        {STEP: state[STEP] + 1, **{name: tensors[index] for name, tensors in moments.items()}}
        for index, state in enumerate(states)
    ]


def count_gradient(states: Sequence[State]) -> None:
    """Write k ← k + 1 for each parameter."""
    for state in states:
        state[STEP] += 1
