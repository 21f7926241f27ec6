"""Contrastive learning: the other samples of the batch are the negatives."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import mnist_images
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled


def _views(images: Tensor, draw: torch.Generator) -> Tensor:
    """Return the images shifted by up to two pixels, with noise."""
    across, down = (int(torch.randint(-2, 3, (1,), generator=draw)) for _ in range(2))
    moved = torch.roll(images, (across, down), (2, 3))
    return (moved + 0.5 * torch.randn(images.shape, generator=draw)).flatten(1)


def _in_batch(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of finding a view's partner among all partners, at temperature 0.2."""
    first, second = (nn.functional.normalize(model(part), dim=-1) for part in batch)
    scores = first @ second.T / 0.2
    return nn.functional.cross_entropy(scores, torch.arange(len(scores)))


def contrastive(seed: int) -> Instance:
    """Two noisy views of MNIST at 14×14, a dense encoder 196-128-32, 64 pairs a batch."""
    images, _, test, _ = mnist_images(10_000, 2_000, 2)
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for (x,) in shuffled((images,), 64, seed):
            yield _views(x, draw), _views(x, draw)

    fixed = torch.Generator().manual_seed(7)
    known = _views(test, fixed), _views(test, fixed)
    return Instance(dense(196, 128, 32), batches(), _in_batch, held_out(_in_batch, known, 100))
