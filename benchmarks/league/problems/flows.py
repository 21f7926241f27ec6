"""Generative models that move noise to data: a normalising flow and flow matching."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import mnist_images
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled


class _Couplings(nn.Module):
    """Affine couplings that change one of two coordinates each; they start at the identity."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(dense(1, width, width, 2, activation=nn.Tanh) for _ in range(count))
        for part in self.parts:
            last = list(part.children())[-1]
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x.chunk(2, -1)
        volume = torch.zeros_like(kept)
        for part in self.parts:
            scale, shift = part(kept).chunk(2, -1)
            scale = 2.0 * torch.tanh(scale / 2.0)
            kept, changed = changed * scale.exp() + shift, kept
            volume = volume + scale
        return torch.cat([kept, changed], -1), volume[:, 0]


def _surprise(model: nn.Module, batch: Batch) -> Tensor:
    """Return the negative log-likelihood a sample, in nats, under a normal distribution of the code."""
    code, volume = model(batch[0])
    return (0.5 * (code**2).sum(-1) + math.log(2.0 * math.pi) - volume).mean()


def moons_flow(seed: int) -> Instance:
    """A normalising flow of eight affine couplings on two moons in the plane, 6,000 points, batch 128."""
    points = torch.tensor(make_moons(8_000, noise=0.1, random_state=seed)[0], dtype=torch.float32)
    points = (points - points[2_000:].mean(0)) / points[2_000:].std(0)
    evaluate = held_out(_surprise, (points[:2_000],))
    return Instance(_Couplings(8, 32), shuffled((points[2_000:],), 128, seed), _surprise, evaluate)


class _Velocity(nn.Module):
    """Two residual blocks of convolutions with group norm that are told the time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.time = nn.Conv2d(1, width, 3, padding=1), nn.Linear(8, width)
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for _ in range(3))
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * math.pi * (2.0 ** torch.arange(4))
        mark = self.time(torch.cat([angles.sin(), angles.cos()], -1))[:, :, None, None]
        hidden = self.into(x)
        for norm, layer in zip(self.norms, self.middle, strict=False):
            hidden = hidden + layer(nn.functional.silu(norm(hidden) + mark))
        return self.out(nn.functional.silu(self.norms[-1](hidden)))


def _matching(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of the velocity along the straight line from noise to image."""
    image, noise, time = batch
    share = time[:, None, None, None]
    return nn.functional.mse_loss(model(share * image + (1.0 - share) * noise, time), image - noise)


def mnist_matching(seed: int) -> Instance:
    """Flow matching of MNIST at 14×14, 10,000 images, convolutions of width 16 with group norm, batch 24."""
    images, _, test, _ = mnist_images(10_000, 500, 2)
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for (x,) in shuffled((images,), 24, seed):
            yield x, torch.randn(x.shape, generator=draw), torch.rand(len(x), generator=draw)

    fixed = torch.Generator().manual_seed(7)
    known = test, torch.randn(test.shape, generator=fixed), torch.rand(len(test), generator=fixed)
    return Instance(_Velocity(16), batches(), _matching, held_out(_matching, known))
