"""Images: batch, group, layer norm and none, an autoencoder, and classes of pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import cifar100_images, cifar_images, mnist_images, mnist_ink, mnist_pixels
from benchmarks.league.problems.feed import cross_entropy, dense, generator, held_out, mirrored, normal_start, shuffled


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.body(x))


def _residual_net(norm: Callable[[int], nn.Module], width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, stride=2, bias=False), norm(width), nn.ReLU(), _Residual(width, norm),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2, bias=False), norm(2 * width), nn.ReLU(),
        _Residual(2 * width, norm), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


def cifar_batchnorm(seed: int) -> Instance:
    """A residual network with batch norm on 10,000 images at 16×16, batch 48."""
    images, labels, test, truth = cifar_images(10_000, 1_000)
    calibration = tuple((images[start : start + 250],) for start in (0, 250, 500, 750))
    return Instance(
        _residual_net(nn.BatchNorm2d, 16),
        shuffled((images, labels), 48, seed),
        cross_entropy,
        held_out(cross_entropy, (test, truth)),
        calibration,
    )


def cifar_groupnorm(seed: int) -> Instance:
    """A residual network with group norm and mirrored images, 10,000 at 16×16, batch 32."""
    images, labels, test, truth = cifar_images(10_000, 1_000)
    batches = mirrored((images, labels), 32, seed, generator(seed, "noise"))
    model = _residual_net(lambda width: nn.GroupNorm(4, width), 16)
    return Instance(model, batches, cross_entropy, held_out(cross_entropy, (test, truth)))


class _Patches(nn.Module):
    """A small vision transformer: patches of 7×7, two blocks with layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(49, width), nn.Parameter(torch.randn(16, width) * 0.02)
        block = nn.TransformerEncoderLayer
        self.blocks = nn.ModuleList(
            block(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unfold(2, 7, 7).unfold(3, 7, 7).reshape(len(x), 16, 49)
        hidden = self.embed(tokens) + self.place
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden).mean(1))


def mnist_layernorm(seed: int) -> Instance:
    """A vision transformer of width 32 on MNIST, batch 32."""
    images, labels, test, truth = mnist_images(20_000, 2_000)
    evaluate = held_out(cross_entropy, (test, truth))
    return Instance(_Patches(32), shuffled((images, labels), 32, seed), cross_entropy, evaluate)


def mnist_autoencoder(seed: int) -> Instance:
    """An autoencoder 784-256-64-12 and back with ELU, squared error, batch 64."""
    train, test = mnist_pixels(20_000, 1_000)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.mse_loss(model(batch[0]), batch[0])

    model = dense(784, 256, 64, 12, 64, 256, 784, activation=nn.ELU)
    return Instance(model, shuffled((train,), 64, seed), loss, held_out(loss, (test,)))


def cifar100_plain(seed: int) -> Instance:
    """A hundred classes, four convolutions with ReLU and no norm, He's start; 20,000 images at 16×16, batch 32."""
    images, labels, test, truth = cifar100_images(20_000, 1_000)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(768, 128), nn.ReLU(), nn.Linear(128, 100),
    )  # fmt: skip
    normal_start(model, "relu")
    evaluate = held_out(cross_entropy, (test[:1_000], truth[:1_000]))
    return Instance(model, shuffled((images, labels), 32, seed), cross_entropy, evaluate)


def _scenes(images: Tensor, labels: Tensor, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return scenes of 28×28 with two digits of 14×14 somewhere and noise, and for each pixel 0 or its digit plus 1."""
    scenes, classes = torch.zeros(count, 28, 28), torch.zeros(count, 28, 28, dtype=torch.long)
    rows, side = torch.arange(count)[:, None, None], torch.arange(14)
    for _ in range(2):
        which = torch.randint(len(images), (count,), generator=draw)
        down, across = torch.randint(15, (2, count, 1), generator=draw)
        place = rows, (down + side)[:, :, None], (across + side)[:, None]
        ink = images[which, 0]
        classes[place] = torch.where(ink > 0.3, labels[which, None, None] + 1, classes[place])
        scenes[place] = torch.maximum(scenes[place], ink)
    return (scenes + 0.2 * torch.randn(scenes.shape, generator=draw))[:, None], classes


def _convolved(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class _UNet(nn.Module):
    """Two steps down and two up, with what was seen on the way down beside; classes are the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _convolved(1, width), _convolved(width, 2 * width)
        self.middle = _convolved(2 * width, 4 * width)
        self.rise2, self.rise1 = (
            nn.ConvTranspose2d(4 * width, 2 * width, 2, 2),
            nn.ConvTranspose2d(2 * width, width, 2, 2),
        )
        self.join2, self.join1 = _convolved(4 * width, 2 * width), _convolved(2 * width, width)
        self.head = nn.Conv2d(width, 11, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(nn.functional.max_pool2d(first, 2))
        middle = self.middle(nn.functional.max_pool2d(second, 2))
        second = self.join2(torch.cat([second, self.rise2(middle)], 1))
        return self.head(self.join1(torch.cat([first, self.rise1(second)], 1))).permute(0, 2, 3, 1)


def segmentation(seed: int) -> Instance:
    """The class of each pixel of 4,000 noisy scenes with two digits of MNIST, a U-Net with batch norm, batch 16."""
    images, labels, test, truth = mnist_ink(10_000, 2_000)
    scenes, classes = _scenes(images, labels, 4_000, generator(seed, "data"))
    known = _scenes(test, truth, 300, torch.Generator().manual_seed(7))
    return Instance(
        _UNet(8),
        shuffled((scenes, classes), 16, seed),
        cross_entropy,
        held_out(cross_entropy, known, 100),
        tuple((scenes[start : start + 100],) for start in range(0, 500, 100)),
    )
