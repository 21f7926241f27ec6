"""What a trained network says in place of labels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import mnist_images
from benchmarks.league.problems.feed import cross_entropy, dense, held_out, shuffled
from benchmarks.league.problems.finetune import trained

_WARMTH = 3.0


def _teacher() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


@cache
def _said(seed: int) -> Tensor:
    """Return the softened classes that a trained teacher gives to 20,000 images."""
    images, labels, _, _ = mnist_images(20_000, 1_000, 2)
    model = _teacher()
    model.load_state_dict(trained(_teacher, shuffled((images, labels), 64, seed + 50), seed, 300))
    with torch.no_grad():
        return (torch.cat([model(part) for part in images.split(1_000)]) / _WARMTH).softmax(-1)


def _agreement(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of the student's softened classes against the teacher's, times T²."""
    inputs, goals = batch
    return nn.functional.cross_entropy(model(inputs) / _WARMTH, goals) * _WARMTH**2


def distilled(seed: int) -> Instance:
    """MNIST at 14×14, a dense network of width 64 learns what a convolutional one says; held out: labels; batch 64."""
    images, _, test, truth = mnist_images(20_000, 1_000, 2)
    with torch.random.fork_rng():
        said = _said(seed)
    evaluate = held_out(cross_entropy, (test.flatten(1), truth))
    return Instance(dense(196, 64, 64, 10), shuffled((images.flatten(1), said), 64, seed), _agreement, evaluate)
