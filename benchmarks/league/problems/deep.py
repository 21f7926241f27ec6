"""Depth and interpolation, where the truth is known, and layers of unlike scales."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import mnist_images
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
