"""`cifar10-vgg11`, `-memory` and `-relu`: CIFAR-10 with a convolutional network, smooth or with ReLU."""

from __future__ import annotations

import dataclasses

from curvestep.bench.networks.specs import VGG11Spec
from curvestep.bench.task import Scale, Task
from curvestep.bench.tasks.cifar10 import load_cifar10

_MEMORY = 256


def _scales(memory: int | None) -> dict[str, Scale]:
    """The sizes, with or without a memory before the last layer."""
    return {
        "paper": Scale(network=VGG11Spec(64, 10, 5.0, memory), batch_size=256, epochs=500, augmented=True),
        "small": Scale(
            network=VGG11Spec(16, 10, 5.0, memory), batch_size=128, epochs=12, train_size=10_000, augmented=True
        ),
        "tiny": Scale(
            network=VGG11Spec(4, 10, 5.0, memory, scaled=True, halved=True),
            batch_size=64,
            epochs=25,
            train_size=960,
            augmented=True,
            evaluation_size=512,
        ),
    }


CIFAR10_VGG11 = Task(
    name="cifar10-vgg11",
    description="CIFAR-10 with random crop and flip, convolutional VGG11, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.99,
    scales=_scales(None),
    load=load_cifar10,
)
CIFAR10_VGG11_MEMORY = dataclasses.replace(
    CIFAR10_VGG11,
    name="cifar10-vgg11-memory",
    description="the same with a memory of the last 256 features before the last layer, for small batches",
    scales=_scales(_MEMORY),
)
CIFAR10_VGG11_RELU = Task(
    name="cifar10-vgg11-relu",
    description="CIFAR-10, convolutional VGG11 with ReLU and no normalisation, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.95,
    scales={
        "paper": Scale(network=VGG11Spec(64, 10, beta=None), batch_size=256, epochs=500, augmented=True),
        "small": Scale(
            network=VGG11Spec(16, 10, beta=None), batch_size=64, epochs=6, train_size=5_000, evaluation_size=2_000
        ),
    },
    load=load_cifar10,
)
