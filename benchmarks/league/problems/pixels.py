"""A generative model that draws an image pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import mnist_ink
from benchmarks.league.problems.feed import held_out, shuffled


class _Masked(nn.Module):
    """A convolution that sees the pixels above and to the left, and the pixel itself if asked for."""

    def __init__(self, inputs: int, outputs: int, size: int, itself: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
        seen = torch.arange(size * size) < size * size // 2 + itself
        self.register_buffer("seen", seen.float().view(size, size))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.layer.weight * self.get_buffer("seen")
        return nn.functional.conv2d(x, weight, self.layer.bias, padding=self.layer.padding)


class _Stepwise(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.into = _Masked(1, width, 5, False)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), _Masked(width, width, 3, True), nn.ReLU(), nn.Conv2d(width, width, 1))
            for _ in range(3)
        )
        self.out = nn.Sequential(nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.into(x)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.out(hidden)


def _surprise(model: nn.Module, batch: Batch) -> Tensor:
    """Return the negative log-likelihood of an image, in nats."""
    scores = model(batch[0])
    return nn.functional.binary_cross_entropy_with_logits(scores, batch[0], reduction="none").sum((1, 2, 3)).mean()


def mnist_pixelcnn(seed: int) -> Instance:
    """MNIST at 14×14 in black and white, each pixel from those before, masked convolutions of width 16; batch 16."""
    train, _, test, _ = mnist_ink(20_000, 1_000)
    evaluate = held_out(_surprise, ((test > 0.5).float(),), 250)
    return Instance(_Stepwise(16), shuffled(((train > 0.5).float(),), 16, seed), _surprise, evaluate)
