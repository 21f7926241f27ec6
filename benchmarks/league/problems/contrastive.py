"""Embeddings from what belongs together: two views of an image, triplets, an image and its caption."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import mnist_images, mnist_ink
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


def _triplets(images: Tensor, labels: Tensor, anchors: Tensor, draw: torch.Generator) -> Batch:
    """Return the anchors, for each an image of its class, and one of another class."""
    order, counts = labels.argsort(stable=True), labels.bincount(minlength=10)
    starts = counts.cumsum(0) - counts

    def member(classes: Tensor) -> Tensor:
        place = (torch.rand(classes.shape, generator=draw) * counts[classes]).long()
        return images[order[starts[classes] + place]]

    own = labels[anchors]
    other = (own + torch.randint(1, 10, own.shape, generator=draw)) % 10
    return images[anchors], member(own), member(other)


def _margin(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean of [|a − p|² − |a − n|² + 0.2]₊ on the unit sphere."""
    anchor, same, other = nn.functional.normalize(model(torch.cat(batch)), dim=-1).chunk(3)
    return nn.functional.relu(((anchor - same) ** 2 - (anchor - other) ** 2).sum(-1) + 0.2).mean()


def triplets(seed: int) -> Instance:
    """Triplets of MNIST at 14×14, 4,000 images, a small convolutional encoder to 16 numbers, 32 triplets a batch."""
    images, labels, test, truth = mnist_images(4_000, 2_000, 2)
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for (anchors,) in shuffled((torch.arange(len(images)),), 32, seed):
            yield _triplets(images, labels, anchors, draw)

    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(384, 16),
    )  # fmt: skip
    known = _triplets(test, truth, torch.arange(len(test)), torch.Generator().manual_seed(7))
    return Instance(model, batches(), _margin, held_out(_margin, known))


class _Towers(nn.Module):
    """Convolutions for an image, embeddings and a dense network for its caption, and a temperature that is learned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(24 * 4 * 11, width),
        )  # fmt: skip
        self.read = nn.Sequential(nn.Embedding(10, 16), nn.Flatten(), dense(48, 64, width))
        self.sharp = nn.Parameter(torch.tensor(math.log(1.0 / 0.07)))

    def forward(self, images: Tensor, captions: Tensor) -> Tensor:
        one, other = (nn.functional.normalize(part, dim=-1) for part in (self.seen(images), self.read(captions)))
        return self.sharp.exp() * one @ other.T


def _matched(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of finding the caption of an image and the image of a caption."""
    scores = model(*batch)
    own = torch.arange(len(scores))
    return 0.5 * (nn.functional.cross_entropy(scores, own) + nn.functional.cross_entropy(scores.T, own))


def _captioned(images: Tensor, labels: Tensor, triples: Tensor, draw: torch.Generator) -> Batch:
    """Return three digits side by side with noise, and their names."""
    rows = torch.cat([images[part] for part in triples.unbind(1)], -1)
    return rows + 0.2 * torch.randn(rows.shape, generator=draw), labels[triples]


def captions(seed: int) -> Instance:
    """Three digits of MNIST at 14×14 beside each other and what they are, encoders to 32 numbers, 64 pairs a batch."""
    images, labels, test, truth = mnist_ink(10_000, 2_000)
    order, noise = generator(seed, "order"), generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        while True:
            yield _captioned(images, labels, torch.randint(len(images), (64, 3), generator=order), noise)

    fixed = torch.Generator().manual_seed(7)
    known = _captioned(test, truth, torch.randint(len(test), (1_920, 3), generator=fixed), fixed)
    return Instance(_Towers(32), batches(), _matched, held_out(_matched, known, 64))
