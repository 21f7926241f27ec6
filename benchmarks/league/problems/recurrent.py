"""Recurrent networks on synthetic sequences and on the rows of images, and a state space that reads pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import mnist_images
from benchmarks.league.problems.feed import cross_entropy, generator, held_out, shuffled, squared_error


class _LastState(nn.Module):
    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], inputs: int, width: int, outputs: int = 1) -> None:
        super().__init__()
        self.cell, self.head = cell(inputs, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


def adding_lstm(seed: int) -> Instance:
    """The adding problem over 20 steps: the sum of two marked numbers, an LSTM of width 64."""
    draw = generator(seed, "data")
    values = torch.rand(6_000, 20, 1, generator=draw)
    marks = torch.zeros(6_000, 20, 1)
    rows = torch.arange(6_000)
    marks[rows, torch.randint(10, (6_000,), generator=draw)] = 1.0
    marks[rows, 10 + torch.randint(10, (6_000,), generator=draw)] = 1.0
    data, sums = torch.cat([values, marks], -1), (values * marks).sum(1)
    return Instance(
        _LastState(nn.LSTM, 2, 64),
        shuffled((data[1_000:], sums[1_000:]), 32, seed),
        squared_error,
        held_out(squared_error, (data[:1_000], sums[:1_000])),
    )


def oscillation_gru(seed: int) -> Instance:
    """The next value of a sum of two sines with random frequencies and noise, a GRU of width 48 over 24 steps."""
    draw = generator(seed, "data")
    count, length = 5_000, 25
    rates = 0.2 + 0.8 * torch.rand(count, 2, 1, generator=draw)
    phases = 6.3 * torch.rand(count, 2, 1, generator=draw)
    waves = torch.sin(rates * torch.arange(length) + phases).sum(1)
    noisy = waves + 0.05 * torch.randn(count, length, generator=draw)
    data, following = noisy[:, :-1, None], waves[:, -1:]
    return Instance(
        _LastState(nn.GRU, 1, 48),
        shuffled((data[1_000:], noisy[1_000:, -1:]), 32, seed),
        squared_error,
        held_out(squared_error, (data[:1_000], following[:1_000])),
    )


def rows_gru(seed: int) -> Instance:
    """MNIST's ten classes, a GRU of width 64 that reads the 28 rows of an image one after another; batch 32."""
    images, labels, test, truth = mnist_images(20_000, 2_000)
    return Instance(
        _LastState(nn.GRU, 28, 64, 10),
        shuffled((images[:, 0], labels), 32, seed),
        cross_entropy,
        held_out(cross_entropy, (test[:, 0], truth)),
    )


class _States(nn.Module):
    """A diagonal state space for each channel, as in S4D: its impulse response is a sum of damped waves."""

    def __init__(self, width: int, modes: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.pace = nn.Parameter(torch.empty(width, 1, 1).uniform_(math.log(0.001), math.log(0.1)))
        self.damping = nn.Parameter(torch.full((width, modes, 1), math.log(0.5)))
        self.pitch = nn.Parameter(math.pi * torch.arange(modes)[:, None].float().repeat(width, 1, 1))
        self.parts = nn.Parameter(torch.randn(2, width, modes, 1) / 2.0**0.5)
        self.past, self.norm, self.out = (
            nn.Parameter(torch.randn(width)),
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
        )

    def forward(self, x: Tensor) -> Tensor:
        pace = self.pace.exp()
        time = pace * torch.arange(self.length)
        waves = self.parts[0] * (self.pitch * time).cos() - self.parts[1] * (self.pitch * time).sin()
        response = 2.0 * (pace * (-self.damping.exp() * time).exp() * waves).sum(1)
        # Row r of the lower triangle has the response to column c, r − c places later.
        shifted = nn.functional.pad(response.flip(1), (0, self.length - 1)).unfold(1, self.length, 1).flip(1)
        inner = self.norm(x)
        moved = (shifted @ inner.permute(2, 1, 0)).permute(2, 1, 0) + self.past * inner
        return x + nn.functional.glu(self.out(nn.functional.gelu(moved)), -1)


class _StateSpace(nn.Module):
    def __init__(self, inputs: int, width: int, length: int, outputs: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks, self.norm = nn.Sequential(*(_States(width, 8, length) for _ in range(2))), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x)).mean(1)))


def pixels_states(seed: int) -> Instance:
    """MNIST at 14×14 as 98 pairs of pixels, one after another, two diagonal state spaces of width 24; batch 32."""
    images, labels, test, truth = mnist_images(20_000, 2_000, 2)
    return Instance(
        _StateSpace(2, 24, 98, 10),
        shuffled((images.reshape(-1, 98, 2), labels), 32, seed),
        cross_entropy,
        held_out(cross_entropy, (test.reshape(-1, 98, 2), truth)),
    )
