"""A linear classifier of coloured pixels."""

from __future__ import annotations

from torch import nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import cifar_images
from benchmarks.league.problems.feed import cross_entropy, held_out, shuffled


def cifar_softmax(seed: int) -> Instance:
    """Ten classes of CIFAR-10 at 16×16 from a linear layer that starts at zero, 40,000 images; batch 64."""
    images, labels, test, truth = cifar_images(40_000, 2_000)
    model = nn.Linear(768, 10)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    evaluate = held_out(cross_entropy, (test.flatten(1), truth))
    return Instance(model, shuffled((images.flatten(1), labels), 64, seed), cross_entropy, evaluate)
