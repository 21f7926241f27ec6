"""How the tasks on CIFAR-10 read their data."""

from __future__ import annotations

from curvestep.bench.task import Feed, LoadRequest


def load_cifar10(request: LoadRequest) -> Feed:
    """Images standardised per channel, cropped and flipped at random in training if asked for, with their classes."""
    from curvestep.bench.data.images import cifar10
    from curvestep.bench.feeds.examples import ExampleFeed, standardised

    return ExampleFeed.classes(cifar10(request.data_dir), standardised, request)
