"""`mnist-lenet`: MNIST with the dense network of the benchmark's first column."""

from __future__ import annotations

from curvestep.bench.networks.specs import DenseSpec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task


def _load(request: LoadRequest) -> Feed:
    """Standardised images with their classes."""
    from curvestep.bench.data.images import mnist
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    return ExampleFeed.classes(mnist(request.data_dir), standardised, request)


MNIST_LENET = Task(
    name="mnist-lenet",
    description="MNIST, dense LeNet, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.99,
    scales={
        "paper": Scale(network=DenseSpec((784, 300, 100, 10), "tanh"), batch_size=256, epochs=200),
        "small": Scale(network=DenseSpec((784, 100, 50, 10), "tanh"), batch_size=128, epochs=20, train_size=10_000),
        "tiny": Scale(
            network=DenseSpec((784, 50, 30, 10), "tanh"),
            batch_size=64,
            epochs=25,
            train_size=1_280,
            evaluation_size=1_280,
        ),
    },
    load=_load,
)
