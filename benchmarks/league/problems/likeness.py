"""Images of a class near each other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import cifar_images
from benchmarks.league.problems.feed import generator, held_out, mirrored


def _alike(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean over images of the cross-entropy of finding those of its class, at a temperature of 0.2."""
    images, labels = batch
    place = nn.functional.normalize(model(images), dim=-1)
    others = 1.0 - torch.eye(len(images))
    scores = place @ place.T / 0.2 - 1e9 * (1.0 - others)
    same = (labels[:, None] == labels).to(scores.dtype) * others
    each = (scores.log_softmax(-1) * same).sum(-1) / same.sum(-1).clamp_min(1.0)
    return -each.mean()


def class_contrast(seed: int) -> Instance:
    """Supervised contrast on 20,000 images at 16×16, mirrored, with noise; three convolutions, batch norm; 64."""
    images, labels, test, truth = cifar_images(20_000, 1_024)
    draw = generator(seed, "noise")

    def changed() -> Iterator[Batch]:
        for turned, targets in mirrored((images, labels), 64, seed, draw):
            yield turned + 0.1 * torch.randn(turned.shape, generator=draw), targets

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 32),
    )  # fmt: skip
    calibration = tuple((images[start : start + 250],) for start in (0, 250, 500, 750))
    return Instance(model, changed(), _alike, held_out(_alike, (test, truth), 64), calibration)
