"""Networks that learn the solutions of an equation from solved ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled

_SENSORS, _TIMES = 41, 11


class _Operator(nn.Module):
    """A deep operator network: what the branch makes of the source times what the trunk makes of the point."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = dense(_SENSORS, width, width, width, activation=nn.Tanh)
        self.trunk = nn.Sequential(dense(2, width, width, width, activation=nn.Tanh), nn.Tanh())
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, source: Tensor, points: Tensor) -> Tensor:
        return (self.branch(source)[:, None] * self.trunk(points)).sum(-1) + self.shift


def _solved(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return smooth sources f on [0, 1] and the s of s_t = s_xx / 100 + s² / 100 + f, at 11 times up to 1.

    s is 0 at the start and at the edges; central differences, and a hundred steps of Euler's method.

    Returns:
        Sources, (count, 41), and solutions, (count, 11, 41).
    """
    waves = torch.arange(1, 9)
    angles = torch.pi * waves[:, None] * torch.linspace(0.0, 1.0, _SENSORS)
    parts = torch.randn(2, count, 8, generator=draw) * torch.exp(-0.03 * waves**2)
    sources = parts[0] @ angles.sin() + parts[1] @ angles.cos()
    state, kept = torch.zeros(count, _SENSORS), [torch.zeros(count, _SENSORS)]
    for step in range(1, 101):
        bend = state[:, 2:] - 2.0 * state[:, 1:-1] + state[:, :-2]
        change = 0.01 * bend * (_SENSORS - 1) ** 2 + 0.01 * state[:, 1:-1] ** 2 + sources[:, 1:-1]
        state = nn.functional.pad(state[:, 1:-1] + 0.01 * change, (1, 1))
        if step % 10 == 0:
            kept.append(state)
    return sources, torch.stack(kept, 1)


def reaction(seed: int) -> Instance:
    """Diffusion and reaction under a source: the solution from 41 sensors, 1,500 sources, noise 0.05; batch 32.

    A batch has 16 points of each source. Held out: other sources, with noise.

    Returns:
        The instance.
    """

    def measured(source: Tensor, solution: Tensor, random: torch.Generator) -> Batch:
        rows = torch.arange(len(source))[:, None]
        moment = torch.randint(_TIMES, (len(source), 16), generator=random)
        place = torch.randint(_SENSORS, (len(source), 16), generator=random)
        noise = 0.05 * torch.randn(moment.shape, generator=random)
        points = torch.stack([place / (_SENSORS - 1), moment / (_TIMES - 1)], -1)
        return source, points, solution[rows, moment, place] + noise

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.mse_loss(model(batch[0], batch[1]), batch[2])

    sources, solutions = _solved(1_500, generator(seed, "data"))
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for source, solution in shuffled((sources, solutions), 32, seed):
            yield measured(source, solution, draw)

    fixed = torch.Generator().manual_seed(7)
    known = measured(*_solved(300, fixed), fixed)
    return Instance(_Operator(48), batches(), loss, held_out(loss, known))
