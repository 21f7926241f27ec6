"""`mnist-autoencoder`: the deep dense autoencoder of MNIST."""

from __future__ import annotations

from curvestep.bench.networks.specs import DenseSpec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task


def _load(request: LoadRequest) -> Feed:
    """Grey values in [0, 1] that are input and target at once."""
    from curvestep.bench.data.images import mnist
    from curvestep.bench.feeds.examples import ExampleFeed, unit_range

    return ExampleFeed.reconstruction(mnist(request.data_dir), unit_range, request)


MNIST_AUTOENCODER = Task(
    name="mnist-autoencoder",
    description="MNIST, dense autoencoder down to 30 units, mean squared error",
    loss="mse",
    has_accuracy=False,
    smoothing=0.99,
    scales={
        # The code layer (index 4) is linear, as in Hinton & Salakhutdinov (2006).
        "paper": Scale(
            network=DenseSpec((784, 1000, 500, 250, 30, 250, 500, 1000, 784), "elu", linear_at=(4,)),
            batch_size=256,
            epochs=500,
        ),
        "small": Scale(
            network=DenseSpec((784, 250, 125, 60, 16, 60, 125, 250, 784), "elu", linear_at=(4,)),
            batch_size=128,
            epochs=20,
            train_size=10_000,
        ),
        "tiny": Scale(
            network=DenseSpec((784, 128, 64, 32, 12, 32, 64, 128, 784), "elu", linear_at=(4,)),
            batch_size=64,
            epochs=25,
            train_size=1_280,
            evaluation_size=1_280,
        ),
    },
    load=_load,
)
