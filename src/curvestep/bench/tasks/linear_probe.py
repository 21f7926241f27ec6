"""`linear-probe` and `linear-probe-tricks`: a linear classifier on the features of a frozen network."""

from __future__ import annotations

import dataclasses

from curvestep.bench.networks.specs import DenseSpec, NetworkSpec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task


def _load(request: LoadRequest) -> Feed:
    """Feature vectors with the classes of their images."""
    from curvestep.bench.data.features import features
    from curvestep.bench.feeds.vectors import VectorFeed

    return VectorFeed.over(features(request.data_dir), request)


def _fitted(feed: Feed) -> NetworkSpec:
    """One linear layer from the features to the classes of the data."""
    from curvestep.bench.feeds.vectors import VectorFeed

    assert isinstance(feed, VectorFeed)
    return DenseSpec((feed.train_features.shape[2], feed.classes), "tanh")


# Our own extractor's numbers; a folder of features has its own.
_NETWORK = DenseSpec((64, 100), "tanh")
_SMALL = Scale(network=_NETWORK, batch_size=256, epochs=15, train_size=5_000, evaluation_size=2_000)

LINEAR_PROBE = Task(
    name="linear-probe",
    description="features of a frozen network on CIFAR-100, or a folder of features: linear classifier, cross-entropy",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.9,
    scales={"paper": Scale(network=_NETWORK, batch_size=1_024, epochs=90), "small": _SMALL},
    load=_load,
    fitted=_fitted,
)
LINEAR_PROBE_TRICKS = dataclasses.replace(
    LINEAR_PROBE,
    name="linear-probe-tricks",
    description="the same with repeated augmentation (every view of an image in one batch) and labels smoothed by 0.1",
    loss="smoothed_cross_entropy",
    scales={name: dataclasses.replace(scale, augmented=True) for name, scale in LINEAR_PROBE.scales.items()},
)
