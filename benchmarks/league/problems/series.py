"""Forecasts of time series."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.feed import generator, held_out, shuffled

_HOURS, _PAST, _AHEAD, _LEVELS = 800, 48, 12, (0.1, 0.5, 0.9)


class _Dilated(nn.Module):
    """A causal convolution with gaps beside a shortcut."""

    def __init__(self, width: int, gap: int) -> None:
        super().__init__()
        self.before, self.body, self.out = 2 * gap, nn.Conv1d(width, width, 3, dilation=gap), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = nn.functional.relu(self.body(nn.functional.pad(x, (self.before, 0))))
        return nn.functional.relu(x + self.out(inner))


class _Forecaster(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.head = nn.Conv1d(3, width, 1), nn.Linear(width, _AHEAD * len(_LEVELS))
        self.blocks = nn.Sequential(*(_Dilated(width, gap) for gap in (1, 2, 4, 8)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.into(x))[:, :, -1]).unflatten(1, (_AHEAD, len(_LEVELS)))


def _pinball(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean pinball loss of the three quantiles."""
    past, following = batch
    above = following[..., None] - model(past)
    levels = torch.tensor(_LEVELS)
    return (levels * nn.functional.relu(above) + (1.0 - levels) * nn.functional.relu(-above)).mean()


def _loads(draw: torch.Generator) -> Tensor:
    """Return 40 series of 800 hours: a daily shape, weekends that are lower, and noise that is correlated."""
    hours = torch.arange(_HOURS)
    angles = 2.0 * math.pi * hours / 24.0 * torch.arange(1, 4)[:, None]
    waves = torch.cat([angles.sin(), angles.cos()])
    daily = torch.randn(40, 6, generator=draw) * torch.tensor([1.0, 0.5, 0.25] * 2) @ waves
    weekend = ((hours // 24) % 7 >= 5).float() * torch.rand(40, 1, generator=draw)
    level, noise = torch.zeros(40), []
    for shock in torch.randn(_HOURS, 40, generator=draw):
        level = 0.9 * level + 0.15 * shock
        noise.append(level)
    return daily - weekend + torch.stack(noise, 1) + 0.1 * torch.randn(40, _HOURS, generator=draw)


def forecast(seed: int) -> Instance:
    """Three quantiles of the next 12 of 48 hours of synthetic loads, dilated convolutions of width 24; batch 32.

    The held-out windows are of the last 150 hours of the same series.

    Returns:
        The instance.
    """
    windows = _loads(generator(seed, "data")).unfold(1, _PAST + _AHEAD, 1)
    middle = windows[..., :_PAST].mean(-1, keepdim=True)
    values = windows - middle
    angles = 2.0 * math.pi * (torch.arange(windows.shape[1])[:, None] + torch.arange(_PAST)) / 24.0
    clock = torch.stack([angles.sin(), angles.cos()], 1).expand(40, -1, -1, -1)
    past, following = torch.cat([values[:, :, None, :_PAST], clock], 2), values[..., _PAST:]
    last = _HOURS - 150
    train = tuple(part[:, : last - _PAST - _AHEAD].flatten(0, 1) for part in (past, following))
    test = tuple(part[:, last::5].flatten(0, 1) for part in (past, following))
    return Instance(_Forecaster(24), shuffled(train, 32, seed), _pinball, held_out(_pinball, test))
