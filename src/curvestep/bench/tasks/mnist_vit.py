"""`mnist-vit`: MNIST with a small vision transformer."""

from __future__ import annotations

from curvestep.bench.networks.specs import ViTSpec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task


def _load(request: LoadRequest) -> Feed:
    """Standardised images with their classes."""
    from curvestep.bench.data.images import mnist
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    return ExampleFeed.classes(mnist(request.data_dir), standardised, request)


MNIST_VIT = Task(
    name="mnist-vit",
    description="MNIST, pre-norm vision transformer, GELU, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.95,
    scales={
        "paper": Scale(network=ViTSpec(28, 1, 4, 6, 192, 6, 10), batch_size=256, epochs=100),
        "small": Scale(
            network=ViTSpec(28, 1, 7, 3, 64, 4, 10), batch_size=64, epochs=8, train_size=5_000, evaluation_size=2_000
        ),
    },
    load=_load,
)
