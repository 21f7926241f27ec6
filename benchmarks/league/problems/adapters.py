"""A trained network of which the scales, the biases and a new head are tuned."""

from __future__ import annotations

from functools import cache

from torch import Tensor, nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import cifar100_images, cifar_images
from benchmarks.league.problems.feed import cross_entropy, held_out, shuffled
from benchmarks.league.problems.finetune import trained


def _network(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.GroupNorm(4, 48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, padding=1), nn.GroupNorm(4, 64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, classes),
    )  # fmt: skip


@cache
def _ten(seed: int) -> dict[str, Tensor]:
    """Return the state of a network trained on CIFAR-10."""
    images, labels, _, _ = cifar_images(10_000, 1_000)
    return trained(lambda: _network(10), shuffled((images, labels), 48, seed + 50), seed, 300)


def finetune_scales(seed: int) -> Instance:
    """Norms' scales, all biases and a new head of a network from CIFAR-10, twenty classes of CIFAR-100; batch 32."""
    images, labels, test, truth = cifar100_images(20_000, 10_000)
    model = _network(20)
    model[:-1].load_state_dict({name: part for name, part in _ten(seed).items() if not name.startswith("13.")})
    for name, parameter in model[:-1].named_parameters():
        parameter.requires_grad_(parameter.dim() == 1 or name.endswith("bias"))
    few, seen = labels < 20, truth < 20
    batches = shuffled((images[few], labels[few]), 32, seed)
    return Instance(model, batches, cross_entropy, held_out(cross_entropy, (test[seen][:1_000], truth[seen][:1_000])))
