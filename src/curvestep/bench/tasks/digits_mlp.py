"""`digits-mlp`: the 8×8 digits that ship with scikit-learn, a dense network; needs no download."""

from __future__ import annotations

from curvestep.bench.networks.specs import DenseSpec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task


def _load(request: LoadRequest) -> Feed:
    """Standardised images with their classes."""
    from curvestep.bench.data.digits import digits
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    return ExampleFeed.classes(digits(), standardised, request)


DIGITS_MLP = Task(
    name="digits-mlp",
    description="8×8 digits of scikit-learn, dense network, cross-entropy; always available",
    loss="cross_entropy",
    has_accuracy=True,
    # An epoch has 11 batches; 0.99 would average over nine epochs of it.
    smoothing=0.95,
    scales={
        "paper": Scale(network=DenseSpec((64, 64, 32, 10), "tanh"), batch_size=128, epochs=50),
        "small": Scale(network=DenseSpec((64, 32, 16, 10), "tanh"), batch_size=64, epochs=10, train_size=640),
    },
    load=_load,
    default_scale="paper",  # takes seconds
)
