"""Labels that are wrong or mixed, and classes that are rare."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import cifar_images, mnist_images
from benchmarks.league.problems.feed import cross_entropy, dense, generator, held_out, shuffled


def label_noise(seed: int) -> Instance:
    """MNIST at 14×14 with 40 % of the training labels drawn at random, held-out labels true; batch 64."""
    images, labels, test, truth = mnist_images(10_000, 2_000, 2)
    draw = generator(seed, "data")
    wrong = torch.rand(len(labels), generator=draw) < 0.4
    labels = torch.where(wrong, torch.randint(10, labels.shape, generator=draw), labels)
    return Instance(
        dense(196, 128, 64, 10),
        shuffled((images.flatten(1), labels), 64, seed),
        cross_entropy,
        held_out(cross_entropy, (test.flatten(1), truth)),
    )


def imbalance(seed: int) -> Instance:
    """MNIST at 14×14, class c kept with probability 0.6^c; held-out classes are equally frequent; batch 64."""
    images, labels, test, truth = mnist_images(30_000, 2_000, 2)
    kept = torch.rand(len(labels), generator=generator(seed, "data")) < 0.6 ** labels.float()
    return Instance(
        dense(196, 128, 64, 10),
        shuffled((images[kept].flatten(1), labels[kept]), 64, seed),
        cross_entropy,
        held_out(cross_entropy, (test.flatten(1), truth)),
    )


def pair_noise(seed: int) -> Instance:
    """CIFAR-10 at 16×16, 30 % of the training labels moved to the next class; convolutions, batch norm, batch 48."""
    images, labels, test, truth = cifar_images(10_000, 1_000)
    wrong = torch.rand(len(labels), generator=generator(seed, "data")) < 0.3
    labels = torch.where(wrong, (labels + 1) % 10, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Conv2d(48, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return Instance(
        model,
        shuffled((images, labels), 48, seed),
        cross_entropy,
        held_out(cross_entropy, (test, truth)),
        tuple((images[start : start + 250],) for start in (0, 250, 500, 750)),
    )


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A convolution of each channel by itself, then one across the channels, each with batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6(),
    )  # fmt: skip


def _mixed_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy with two classes of each sample, by their shares."""
    inputs, one, other, share = batch
    scores = model(inputs)
    parts = [nn.functional.cross_entropy(scores, labels, reduction="none") for labels in (one, other)]
    return (share * parts[0] + (1.0 - share) * parts[1]).mean()


def mixup(seed: int) -> Instance:
    """CIFAR-10 at 16×16, pairs of images and labels mixed evenly (mixup), separable convolutions, batch norm, batch 32.

    Held out: the cross-entropy of images as they are.

    Returns:
        The instance.
    """
    images, labels, test, truth = cifar_images(10_000, 1_000)
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for x, y in shuffled((images, labels), 32, seed):
            share, other = torch.rand(len(x), generator=draw), torch.randperm(len(x), generator=draw)
            weight = share[:, None, None, None]
            yield weight * x + (1.0 - weight) * x[other], y, y[other], share

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        _separable(16, 32, 1), _separable(32, 64, 2), _separable(64, 64, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return Instance(
        model,
        batches(),
        _mixed_entropy,
        held_out(cross_entropy, (test, truth)),
        tuple((images[start : start + 250],) for start in (0, 250, 500, 750)),
    )
