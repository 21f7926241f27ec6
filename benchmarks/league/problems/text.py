"""Language models on bytes, and a transformer that sorts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_bytes
from benchmarks.league.problems.feed import cross_entropy, generator, held_out

_BYTES = 128


class _Rotary(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.into, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        rates = 10_000.0 ** (-torch.arange(0, self.size, 2) / self.size)
        angles = torch.arange(length)[:, None] * rates
        self.register_buffer("cos", torch.cat([angles.cos()] * 2, -1))
        self.register_buffer("sin", torch.cat([angles.sin()] * 2, -1))

    def _turned(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.get_buffer("cos") + torch.cat([-second, first], -1) * self.get_buffer("sin")

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = self.into(x).view(rows, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(self._turned(q), self._turned(k), v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


class _GatedBlock(nn.Module):
    """Pre-norm block with rotary attention and SwiGLU."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = _Rotary(width, heads, length)
        inner = 8 * width // 3
        self.up, self.down = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        gate, value = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(nn.functional.silu(gate) * value)


class _Llama(nn.Module):
    def __init__(self, width: int, blocks: int, heads: int, length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(_BYTES, width)
        self.blocks = nn.Sequential(*(_GatedBlock(width, heads, length) for _ in range(blocks)))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, _BYTES, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens))))


class _Block(nn.Module):
    """Pre-norm block with layer norm, GELU and dropout; causal if asked for."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = self.into(self.norm1(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.drop(self.out(mixed.transpose(1, 2).reshape(rows, length, width)))
        return x + self.drop(self.feed(self.norm2(x)))


class _Transformer(nn.Module):
    def __init__(self, tokens: int, width: int, blocks: int, length: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(tokens, width), nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.Sequential(*(_Block(width, 4, dropout, causal) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.place)))


class _Recurrent(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(_BYTES, width // 2), nn.GRU(width // 2, width, batch_first=True)
        self.head = nn.Linear(width, _BYTES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.cell(self.embed(tokens))[0])


def _windows(text: Tensor, length: int, size: int, seed: int) -> Iterator[Batch]:
    order = generator(seed, "order")
    while True:
        starts = torch.randint(len(text) - length - 1, (size, 1), generator=order)
        rows = text[starts + torch.arange(length + 1)]
        yield rows[:, :-1], rows[:, 1:]


def _language(model: nn.Module, length: int, size: int, seed: int) -> Instance:
    train, test = text_bytes()
    rows = test[torch.arange(0, len(test) - length - 1, math.ceil(len(test) / 120))[:, None] + torch.arange(length + 1)]
    evaluate = held_out(cross_entropy, (rows[:, :-1], rows[:, 1:]), 60)
    return Instance(model, _windows(train, length, size, seed), cross_entropy, evaluate)


def bytes_llama(seed: int) -> Instance:
    """Two blocks of width 64 with rotary positions, SwiGLU and RMS norm; context 48, batch 12."""
    return _language(_Llama(64, 2, 4, 48), 48, 12, seed)


def bytes_gpt(seed: int) -> Instance:
    """Two blocks of width 48 with layer norm, GELU, dropout 0.1; context 48, batch 12."""
    return _language(_Transformer(_BYTES, 48, 2, 48, 0.1, True), 48, 12, seed)


def bytes_gru(seed: int) -> Instance:
    """One GRU layer of width 96; context 32, batch 12."""
    return _language(_Recurrent(96), 32, 12, seed)


def sorting(seed: int) -> Instance:
    """A transformer that reads 8 numbers below 16 and writes them sorted; every batch is new."""

    def batches() -> Iterator[Batch]:
        order = generator(seed, "order")
        while True:
            rows = torch.randint(16, (64, 8), generator=order)
            yield rows, rows.sort(1).values

    rows = torch.randint(16, (500, 8), generator=torch.Generator().manual_seed(7))
    model = _Transformer(16, 48, 2, 8, 0.0, False)
    return Instance(model, batches(), cross_entropy, held_out(cross_entropy, (rows, rows.sort(1).values)))
