"""A differential equation learned through its solutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled, squared_error

_STEPS, _PACE = 8, 0.25


def _fall(state: Tensor) -> Tensor:
    """Return the time derivative of a damped pendulum's angle and speed."""
    angle, speed = state.unbind(-1)
    return torch.stack([speed, -angle.sin() - 0.15 * speed], -1)


def _after(state: Tensor, field: nn.Module | None) -> Tensor:
    """Return the state a step later, by Runge and Kutta's fourth-order rule."""
    slope = _fall if field is None else field
    a = slope(state)
    b = slope(state + 0.5 * _PACE * a)
    c = slope(state + 0.5 * _PACE * b)
    d = slope(state + _PACE * c)
    return state + _PACE / 6.0 * (a + 2.0 * b + 2.0 * c + d)


class _Path(nn.Module):
    """The states after 1 to 8 steps along a learned field."""

    def __init__(self) -> None:
        super().__init__()
        self.field = dense(2, 48, 48, 2, activation=nn.Tanh)

    def forward(self, state: Tensor) -> Tensor:
        path = []
        for _ in range(_STEPS):
            state = _after(state, self.field)
            path.append(state)
        return torch.stack(path, 1)


def pendulum(seed: int) -> Instance:
    """The field of a damped pendulum from 8,000 paths of 8 steps, measured with noise 0.05; batch 32."""
    draw = generator(seed, "data")
    state = torch.stack([2.5 * torch.randn(9_000, generator=draw), 1.5 * torch.randn(9_000, generator=draw)], -1)
    start, path = state, []
    for _ in range(_STEPS):
        state = _after(state, None)
        path.append(state)
    seen = torch.stack(path, 1)
    seen = seen + 0.05 * torch.randn(seen.shape, generator=draw)
    evaluate = held_out(squared_error, (start[:1_000], seen[:1_000]))
    return Instance(_Path(), shuffled((start[1_000:], seen[1_000:]), 32, seed), squared_error, evaluate)
