"""Recurrent networks with more around them: sounds behind convolutions, and text through two layers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_bytes
from benchmarks.league.problems.feed import cross_entropy, generator, held_out
from benchmarks.league.problems.text import language

_CLASSES, _LENGTH = 8, 400


def _sounds(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy waves of eight kinds: two pitches, each steady, rising, falling or trembling; and their kinds."""
    kinds = torch.randint(_CLASSES, (count,), generator=draw)
    time = torch.arange(_LENGTH) / _LENGTH
    pitch = torch.where(kinds < 4, 20.0, 26.0)[:, None] * (1.0 + 0.15 * torch.randn(count, 1, generator=draw))
    shape = (kinds % 4)[:, None]
    bend = torch.where(shape == 1, 0.3 * time, torch.where(shape == 2, -0.3 * time, torch.zeros(())))
    bend = torch.where(shape == 3, 0.1 * torch.sin(30.0 * time), bend)
    phase = 6.283 * (pitch * (1.0 + bend)).cumsum(-1) / _LENGTH + 6.283 * torch.rand(count, 1, generator=draw)
    loudness = 0.5 + torch.rand(count, 1, generator=draw)
    waves = loudness * (phase.sin() + 0.3 * (2.0 * phase).sin())
    return (waves + 1.0 * torch.randn(count, _LENGTH, generator=draw))[:, None], kinds


class _Listener(nn.Module):
    """Two strided convolutions, a GRU, and the mean of its states."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(1, 16, 20, stride=5), nn.ReLU(), nn.Conv1d(16, 32, 5, stride=2), nn.ReLU()
        )  # fmt: skip
        self.cell, self.head = nn.GRU(32, 48, batch_first=True), nn.Linear(48, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.front(x).transpose(1, 2))[0].mean(1))


def keywords(seed: int) -> Instance:
    """Eight kinds of noisy waves of 400 samples, new ones in every batch, convolutions and a GRU; batch 32."""
    draw = generator(seed, "data")

    def batches() -> Iterator[Batch]:
        while True:
            yield _sounds(32, draw)

    known = _sounds(1_500, torch.Generator().manual_seed(7))
    return Instance(_Listener(), batches(), cross_entropy, held_out(cross_entropy, known))


class _Layered(nn.Module):
    """An embedding, two LSTM layers with dropout, a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(128, 32), nn.Dropout(0.2)
        self.first, self.second = nn.LSTM(32, width, batch_first=True), nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, 128)

    def forward(self, tokens: Tensor) -> Tensor:
        inner = self.drop(self.first(self.drop(self.embed(tokens)))[0])
        return self.head(self.drop(self.second(inner)[0]))


def bytes_lstm(seed: int) -> Instance:
    """Two LSTM layers of width 64 on bytes, dropout 0.2; context 32, batch 12."""
    return language(_Layered(64), 32, 12, seed, text_bytes())
