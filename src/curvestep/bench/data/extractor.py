"""The frozen network whose features `linear-probe` classifies: a narrow VGG11 on CIFAR-100, trained once and kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.bench.data.cache import Tensors
from curvestep.bench.data.images import ImageSet
from curvestep.bench.feeds.augment import crop_and_flip
from curvestep.bench.feeds.examples import standardised
from curvestep.bench.feeds.order import epoch_generator
from curvestep.bench.networks.vgg import vgg

_WIDTH, _CLASSES, _BETA = 8, 100, 5.0
_IMAGES, _BATCH, _EPOCHS, _SEED = 10_000, 128, 6, 0
_VIEWS = 3
_CHUNK = 500
#: What the features depend on besides the images.
RECIPE = f"vgg11-{_WIDTH} auto {_IMAGES} {_BATCH} {_EPOCHS} {_VIEWS} 2"


def extract(images: ImageSet) -> Tensors:
    """Train the extractor on the first 10,000 images with `curvestep.Auto`, and return the features of all images.

    They are what the last layer sees, standardised; of a training image one view as it is and two cropped and flipped
    at random. Seed and lengths are fixed: the features are a data set, not a part of a run.

    Returns:
        ``train_features`` (N, V, D), ``train_labels``, ``test_features`` (M, D), ``test_labels``.
    """
    scaling = standardised(images.train_images)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        network = vgg(11, _WIDTH, _CLASSES, _BETA, scaled=True)
    count = min(_IMAGES, len(images.train_images))
    batch = min(_BATCH, count)
    optimizer = curvestep.Auto(network.parameters())
    for epoch in range(_EPOCHS):
        generator = epoch_generator(_SEED, epoch)
        for chosen in torch.randperm(count, generator=generator).split(batch):
            if len(chosen) < batch:
                continue
            inputs = scaling(crop_and_flip(images.train_images[chosen], generator))
            targets = images.train_labels[chosen]
            with optimizer.record():
                optimizer.zero_grad()
                F.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    with optimizer.averaged():
        body = network[:-1].eval()
        views = [_features(body, scaling(images.train_images))]
        for view in range(1, _VIEWS):
            generator = epoch_generator(_SEED + view, 0)
            views.append(_features(body, scaling(crop_and_flip(images.train_images, generator))))
        test = _features(body, scaling(images.test_images))
    train = torch.stack(views, 1)
    mean, deviation = train[:, 0].mean(0), train[:, 0].std(0).clamp_min(1e-6)
    return {
        "train_features": (train - mean) / deviation,
        "train_labels": images.train_labels,
        "test_features": (test - mean) / deviation,
        "test_labels": images.test_labels,
    }


@torch.no_grad()
def _features(body: nn.Module, inputs: Tensor) -> Tensor:
    """(N, D)."""
    return torch.cat([body(part) for part in inputs.split(_CHUNK)])
