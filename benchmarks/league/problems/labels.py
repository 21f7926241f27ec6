"""Labels that are wrong, and classes that are rare."""

from __future__ import annotations

import torch

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import mnist_images
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
