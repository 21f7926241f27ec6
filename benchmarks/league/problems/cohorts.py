"""Tables of people: when something happens to them, and several answers at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled

_PERIODS = 12


def _survival(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean negative log-likelihood of hazards in discrete time, of people who may leave unobserved."""
    inputs, last, happened = batch
    hazards = model(inputs)
    period = torch.arange(_PERIODS)
    event = ((period == last[:, None]) & happened[:, None]).to(hazards.dtype)
    lived = (period <= last[:, None]).to(hazards.dtype)
    each = nn.functional.binary_cross_entropy_with_logits(hazards, event, reduction="none")
    return (each * lived).sum(1).mean()


def hazards(seed: int) -> Instance:
    """12,000 people with 20 features, hazards that depend on six, a third leaves unobserved, batch norm; batch 64."""
    draw = generator(seed, "data")
    count = 14_000
    x = torch.randn(count, 20, generator=draw)
    risk = 0.8 * x[:, 0] + 0.6 * x[:, 1] * x[:, 2] - 0.7 * x[:, 3].abs() + 0.5 * torch.sin(2.0 * x[:, 4]) * x[:, 5]
    chance = torch.sigmoid(risk[:, None] - 2.0 + 0.1 * torch.arange(_PERIODS))
    hits = torch.rand(count, _PERIODS, generator=draw) < chance
    first = torch.where(hits.any(1), hits.float().argmax(1), torch.full((count,), _PERIODS))
    leaves = torch.randint(3, 3 * _PERIODS, (count,), generator=draw)
    happened = (first < _PERIODS) & (first <= leaves)
    last = torch.minimum(first, leaves).clamp_max(_PERIODS - 1)
    model = dense(20, 64, 64, _PERIODS, norm=True)
    rows = x, last, happened
    evaluate = held_out(_survival, tuple(part[:2_000] for part in rows))
    calibration = tuple((x[start : start + 500],) for start in (2_000, 2_500, 3_000, 3_500))
    return Instance(model, shuffled(tuple(part[2_000:] for part in rows), 64, seed), _survival, evaluate, calibration)


class _Heads(nn.Module):
    """A trunk of two layers, and a head each for a number, a class of five and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(24, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU())
        self.number, self.kind, self.count = nn.Linear(96, 1), nn.Linear(96, 5), nn.Linear(96, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inner = self.trunk(x)
        return self.number(inner)[:, 0], self.kind(inner), self.count(inner)[:, 0]


def _answers(model: nn.Module, batch: Batch) -> Tensor:
    """Return the sum of a squared error, a cross-entropy and half a Poisson deviance, means over rows."""
    inputs, numbers, kinds, counts = batch
    number, kind, count = model(inputs)
    deviance = (count.exp() - counts * count + (torch.xlogy(counts, counts) - counts)).mean()
    return nn.functional.mse_loss(number, numbers) + nn.functional.cross_entropy(kind, kinds) + deviance


def multitask(seed: int) -> Instance:
    """16,000 rows of 24 features, a number, one of five classes and a count from four hidden causes; batch 64."""
    draw = generator(seed, "data")
    rows = 18_000
    x = torch.randn(rows, 24, generator=draw)
    causes = torch.tanh(x @ torch.randn(24, 4, generator=draw) / 3.0)
    causes = torch.cat([causes, causes[:, :2] * causes[:, 2:]], 1)
    number = causes @ torch.randn(6, generator=draw) + 0.4 * torch.randn(rows, generator=draw)
    chance = torch.rand(rows, 5, generator=draw).clamp(1e-6, 1.0 - 1e-6)
    kind = (2.0 * causes @ torch.randn(6, 5, generator=draw) - (-chance.log()).log()).argmax(1)  # Gumbel's trick
    count = torch.poisson((causes @ torch.randn(6, generator=draw) * 0.5 + 0.7).clamp(max=3.0).exp(), generator=draw)
    table = x, number, kind, count
    evaluate = held_out(_answers, tuple(part[:2_000] for part in table))
    return Instance(_Heads(), shuffled(tuple(part[2_000:] for part in table), 64, seed), _answers, evaluate)
