"""`mnist-stream`: MNIST whose images turn by 75° at the start of each epoch, while training goes on."""

from __future__ import annotations

import dataclasses

from curvestep.bench.networks.specs import DenseSpec
from curvestep.bench.task import Feed, LoadRequest, Recovery, Scale, Task

# Twenty-four different angles come before the first one comes again.
_TURN = 75.0


def _load(request: LoadRequest) -> Feed:
    """Standardised images with their classes, turned by 75° more after every epoch."""
    from curvestep.bench.data.images import mnist
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    return dataclasses.replace(ExampleFeed.classes(mnist(request.data_dir), standardised, request), turn=_TURN)


MNIST_STREAM = Task(
    name="mnist-stream",
    description="MNIST turned by further 75° at each epoch: how soon a method recovers from a shift; dense LeNet",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.9,
    scales={
        "paper": Scale(network=DenseSpec((784, 300, 100, 10), "tanh"), batch_size=256, epochs=20),
        "small": Scale(
            network=DenseSpec((784, 100, 50, 10), "tanh"),
            batch_size=64,
            epochs=8,
            train_size=6_400,  # 100 steps between two shifts
            evaluation_size=2_000,
        ),
    },
    load=_load,
    recovery=Recovery(loss=0.6, window=10),
)
