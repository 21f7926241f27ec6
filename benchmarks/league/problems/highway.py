"""A deep network with gates that carry."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import mnist_images
from benchmarks.league.problems.feed import cross_entropy, held_out, shuffled


class _Carry(nn.Module):
    """T(x) h(x) + (1 − T(x)) x with a gate T that begins at σ(−2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(self.gate(x))
        return share * torch.tanh(self.own(x)) + (1.0 - share) * x


def highway(seed: int) -> Instance:
    """MNIST at 14×14, 40,000 images, 20 gated layers of width 48; batch 64."""
    images, labels, test, truth = mnist_images(40_000, 2_000, 2)
    model = nn.Sequential(nn.Linear(196, 48), *(_Carry(48) for _ in range(20)), nn.Linear(48, 10))
    evaluate = held_out(cross_entropy, (test.flatten(1), truth))
    return Instance(model, shuffled((images.flatten(1), labels), 64, seed), cross_entropy, evaluate)
