"""`cifar100-vgg19` and its twin with a memory of features: CIFAR-100 with a deep convolutional network."""

from __future__ import annotations

import dataclasses

from curvestep.bench.networks.specs import VGG19Spec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task

_ROTATION = 15.0  # degrees to either side
_MEMORY = 256


def _load(request: LoadRequest) -> Feed:
    """Images standardised per channel with their fine classes; cropped, flipped and turned at random in training."""
    from curvestep.bench.data.images import cifar100
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    feed = ExampleFeed.classes(cifar100(request.data_dir), standardised, request)
    return dataclasses.replace(feed, rotation=_ROTATION if request.augmented else 0.0)


def _scales(memory: int | None) -> dict[str, Scale]:
    """The sizes, with or without a memory before the last layer."""
    return {
        "paper": Scale(network=VGG19Spec(64, 100, 5.0, memory), batch_size=256, epochs=500, augmented=True),
        "small": Scale(
            network=VGG19Spec(8, 100, 5.0, memory), batch_size=256, epochs=12, train_size=10_240, augmented=True
        ),
        "tiny": Scale(
            network=VGG19Spec(4, 100, 5.0, memory, halved=True),
            batch_size=128,
            epochs=25,
            train_size=768,
            augmented=True,
            evaluation_size=512,
        ),
    }


CIFAR100_VGG19 = Task(
    name="cifar100-vgg19",
    description="CIFAR-100 with random crop, flip and rotation by at most 15°, convolutional VGG19, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.99,
    scales=_scales(None),
    load=_load,
)
CIFAR100_VGG19_MEMORY = dataclasses.replace(
    CIFAR100_VGG19,
    name="cifar100-vgg19-memory",
    description="the same with a memory of the last 256 features before the last layer, for small batches",
    scales=_scales(_MEMORY),
)
