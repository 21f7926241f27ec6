"""Depth and interpolation, where the truth is known, layers of unlike scales, and a deep residual network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import cifar_images, mnist_images
from benchmarks.league.problems.feed import (
    cross_entropy,
    dense,
    generator,
    held_out,
    normal_start,
    shuffled,
    squared_error,
)


def deep_linear(seed: int) -> Instance:
    """Ten linear layers of width 32 learn a map of rank 8, inputs with a condition of 400, noise 0.02; batch 32."""
    draw = generator(seed, "data")
    rows = 6_000
    truth = torch.randn(32, 8, generator=draw) @ torch.randn(8, 16, generator=draw) / 8.0
    x = torch.randn(rows, 32, generator=draw) * torch.logspace(0.0, -1.3, 32)
    y = x @ truth + 0.02 * torch.randn(rows, 16, generator=draw)
    model = dense(*[32] * 10, 16, activation=nn.Identity)
    evaluate = held_out(squared_error, (x[:1_000], y[:1_000]))
    return Instance(model, shuffled((x[1_000:], y[1_000:]), 32, seed), squared_error, evaluate)


def teacher_student(seed: int) -> Instance:
    """A wide network learns a narrow one of the same kind without noise, so that the loss can go to 0; batch 64."""
    draw = generator(seed, "data")
    x = torch.randn(8_000, 16, generator=draw)
    hidden = torch.tanh(x @ torch.randn(16, 12, generator=draw) / 4.0)
    y = hidden @ torch.randn(12, 4, generator=draw) / 2.0
    model = dense(16, 128, 128, 4, activation=nn.GELU)
    evaluate = held_out(squared_error, (x[:2_000], y[:2_000]))
    return Instance(model, shuffled((x[2_000:], y[2_000:]), 64, seed), squared_error, evaluate)


def rescaled_layers(seed: int) -> Instance:
    """MNIST at 14×14, six layers, 48 wide, whose weights start 10 and 0.1 times as large in turn; batch 64.

    The biases start at 0, so that by ReLU's homogeneity the network starts as the same function as without factors.

    Returns:
        The instance.
    """
    images, labels, test, truth = mnist_images(20_000, 2_000, 2)
    model = dense(196, *[48] * 5, 10)
    normal_start(model, "relu")
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            layer.weight *= 10.0 if number % 2 == 0 else 0.1
    evaluate = held_out(cross_entropy, (test.flatten(1), truth))
    return Instance(model, shuffled((images.flatten(1), labels), 64, seed), cross_entropy, evaluate)


class _Behind(nn.Module):
    """Two convolutions behind batch norm and ReLU, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.short = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = nn.functional.relu(self.norm1(x))
        return self.short(x) + self.second(nn.functional.relu(self.norm2(self.first(inner))))


def _cropped(images: Tensor, draw: torch.Generator) -> Tensor:
    """Return the images moved by up to two pixels, half of them mirrored."""
    rows, side = torch.arange(len(images))[:, None, None], torch.arange(images.shape[-1])
    down, across = torch.randint(5, (2, len(images), 1, 1), generator=draw)
    padded = nn.functional.pad(images, (2, 2, 2, 2)).permute(0, 2, 3, 1)
    moved = padded[rows, down + side[:, None], across + side].permute(0, 3, 1, 2)
    return torch.where(torch.rand(len(images), 1, 1, 1, generator=draw) < 0.5, moved.flip(3), moved)


def cifar_preact(seed: int) -> Instance:
    """A residual network of 20 layers, batch norm before each, on moved and mirrored CIFAR-10 at 16×16, batch 32."""
    images, labels, test, truth = cifar_images(10_000, 1_000)
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for x, y in shuffled((images, labels), 32, seed):
            yield _cropped(x, draw), y

    widths = (8, 8, 8, 8, 16, 16, 16, 32, 32, 32)
    blocks = [_Behind(a, b, 2 if b > a else 1) for a, b in zip(widths, widths[1:], strict=False)]
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), *blocks,
        nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    normal_start(model, "relu")
    evaluate = held_out(cross_entropy, (test, truth))
    calibration = tuple((images[start : start + 250],) for start in (0, 250, 500, 750))
    return Instance(model, batches(), cross_entropy, evaluate, calibration)
