"""Labels that are wrong, and classes that are rare."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.league.problem import Instance
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
