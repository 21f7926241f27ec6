"""Depth and interpolation, where the truth is known."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled, squared_error


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
