"""`cifar10-resnet` and `cifar10-resnet-plain`: CIFAR-10, residual network, with batch normalisation and without."""

from __future__ import annotations

from curvestep.bench.networks.specs import ResNetSpec
from curvestep.bench.task import Scale, Task
from curvestep.bench.tasks.cifar10 import load_cifar10


def _scales(*, normalised: bool) -> dict[str, Scale]:
    """ResNet-20 on everything; two blocks a stage at half the resolution on a tenth of the images."""
    return {
        "paper": Scale(
            network=ResNetSpec(16, 3, 10, stem_stride=1, normalised=normalised),
            batch_size=128,
            epochs=164,  # 64,000 steps, as in the source of the network
            augmented=True,
        ),
        "small": Scale(
            network=ResNetSpec(16, 2, 10, stem_stride=2, normalised=normalised),
            batch_size=64,
            epochs=6,
            train_size=5_000,
            evaluation_size=2_000,
        ),
    }


CIFAR10_RESNET = Task(
    name="cifar10-resnet",
    description="CIFAR-10, residual network with batch normalisation and ReLU, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.95,
    scales=_scales(normalised=True),
    load=load_cifar10,
)
CIFAR10_RESNET_PLAIN = Task(
    name="cifar10-resnet-plain",
    description="CIFAR-10, residual network with ReLU and no normalisation, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.95,
    scales=_scales(normalised=False),
    load=load_cifar10,
)
