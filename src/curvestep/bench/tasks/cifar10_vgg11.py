"""`cifar10-vgg11`: CIFAR-10 with a convolutional network and smooth activations."""

from __future__ import annotations

from curvestep.bench.networks.specs import VGG11Spec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task


def _load(request: LoadRequest) -> Feed:
    """Images standardised per channel, cropped and flipped at random in training, with their classes."""
    from curvestep.bench.data.images import cifar10
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    return ExampleFeed.classes(cifar10(request.data_dir), standardised, request)


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
    load=_load,
)
