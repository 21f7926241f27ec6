"""Training that starts from a trained network: all of it, its last layer, low-rank corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import cifar100_images, cifar_images, mnist_images
from benchmarks.league.problems.feed import cross_entropy, dense, held_out, shuffled


def trained(make: Callable[[], nn.Module], batches: Iterator[Batch], seed: int, steps: int) -> dict[str, Tensor]:
    """Return the state of a model after AdamW at 3e-3 with a linear decay to zero; the global random state is kept."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for batch in islice(batches, steps):
            optimizer.zero_grad()
            cross_entropy(model, batch).backward()
            optimizer.step()
            schedule.step()
    return model.state_dict()


def _convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.GroupNorm(4, 48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(48, 48, 3, padding=1), nn.GroupNorm(4, 48), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(192, 5),
    )  # fmt: skip


@cache
def _known_classes(seed: int) -> dict[str, Tensor]:
    """Return the state of a network trained on the first five classes of CIFAR-10."""
    images, labels, _, _ = cifar_images(10_000, 1_000)
    first = labels < 5
    return trained(_convolutions, shuffled((images[first], labels[first]), 48, seed + 50), seed, 300)


def _new_classes(seed: int) -> tuple[nn.Sequential, Instance]:
    """Return the trained network with a new last layer, and its problem: the other five classes, 800 images."""
    images, labels, test, truth = cifar_images(10_000, 1_000)
    second, unseen = labels >= 5, truth >= 5
    model = _convolutions()
    state = _known_classes(seed)
    model[:-1].load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("13.")})
    batches = shuffled((images[second][:800], labels[second][:800] - 5), 32, seed)
    return model, Instance(model, batches, cross_entropy, held_out(cross_entropy, (test[unseen], truth[unseen] - 5)))


def finetune_full(seed: int) -> Instance:
    """All weights of a small convolutional network, on 800 images of five classes that it has not seen; batch 32."""
    return _new_classes(seed)[1]


def finetune_last(seed: int) -> Instance:
    """The same, its last layer alone."""
    model, instance = _new_classes(seed)
    for parameter in model[:-1].parameters():
        parameter.requires_grad_(False)
    return instance


class _LowRank(nn.Module):
    """A frozen linear layer and a correction of rank 4 that starts at zero."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(4, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


@cache
def _upright(seed: int) -> dict[str, Tensor]:
    """Return the state of a network trained on upright MNIST at 14×14."""
    images, labels, _, _ = mnist_images(20_000, 2_000, 2)
    return trained(lambda: dense(196, 128, 128, 10), shuffled((images.flatten(1), labels), 64, seed + 50), seed, 500)


def finetune_lowrank(seed: int) -> Instance:
    """Low-rank corrections of a dense network trained on upright digits, for 4,000 digits turned by 90°; batch 64."""
    images, labels, test, truth = mnist_images(20_000, 2_000, 2)
    model = dense(196, 128, 128, 10)
    model.load_state_dict(_upright(seed))
    adapted = nn.Sequential(*(_LowRank(layer) if isinstance(layer, nn.Linear) else layer for layer in model))
    turned, turned_test = (part.rot90(1, (2, 3)).flatten(1) for part in (images[:4_000], test))
    batches = shuffled((turned, labels[:4_000]), 64, seed)
    return Instance(adapted, batches, cross_entropy, held_out(cross_entropy, (turned_test, truth)))


class _Mixing(nn.Module):
    """A block of a mixer: dense layers across the patches, then across the channels, each behind a layer norm."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = dense(patches, 2 * patches, patches, activation=nn.GELU)
        self.along = dense(width, 2 * width, width, activation=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.along(self.norm2(x))


class _Mixer(nn.Module):
    """Patches of 4×4 pixels of an image of 16×16, two blocks of width 64."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Linear(48, 64), nn.Sequential(_Mixing(16, 64), _Mixing(16, 64))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(len(x), 16, 48)
        return self.head(self.norm(self.blocks(self.embed(patches))).mean(1))


@cache
def _ten_classes(seed: int) -> dict[str, Tensor]:
    """Return the state of a mixer trained on CIFAR-10."""
    images, labels, _, _ = cifar_images(10_000, 1_000)
    return trained(_Mixer, shuffled((images, labels), 48, seed + 50), seed, 400)


def finetune_mixer(seed: int) -> Instance:
    """All weights of a mixer trained on CIFAR-10, on 1,500 images of ten classes of CIFAR-100; batch 32."""
    images, labels, test, truth = cifar100_images(20_000, 10_000)
    model = _Mixer()
    state = _ten_classes(seed)
    model.load_state_dict({name: model.state_dict()[name] if "head" in name else part for name, part in state.items()})
    few, seen = labels < 10, truth < 10
    images, labels = images[few][:1_500], labels[few][:1_500]
    return Instance(
        model, shuffled((images, labels), 32, seed), cross_entropy, held_out(cross_entropy, (test[seen], truth[seen]))
    )
