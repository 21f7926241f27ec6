"""`cifar10-vgg11` and `cifar10-vgg11-relu`: CIFAR-10 with a convolutional network, smooth and with ReLU."""

from __future__ import annotations

from curvestep.bench.networks.specs import VGG11Spec
from curvestep.bench.task import Scale, Task
from curvestep.bench.tasks.cifar10 import load_cifar10

CIFAR10_VGG11 = Task(
    name="cifar10-vgg11",
    description="CIFAR-10 with random crop and flip, convolutional VGG11, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.99,
    scales={
        "paper": Scale(network=VGG11Spec(64, 10, beta=5.0), batch_size=256, epochs=500, augmented=True),
        "small": Scale(
            network=VGG11Spec(16, 10, beta=5.0), batch_size=128, epochs=12, train_size=10_000, augmented=True
        ),
    },
    load=load_cifar10,
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
