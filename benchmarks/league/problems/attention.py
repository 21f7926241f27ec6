"""Language models without learned positions: attention with slopes and shared keys, and retention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Instance
from benchmarks.league.problems.data import text_bytes
from benchmarks.league.problems.text import language

_BYTES = 128


class _Slopes(nn.Module):
    """Causal attention whose scores fall linearly with the distance (ALiBi); pairs of heads share keys and values."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)  # keys and values of half as many heads
        place = torch.arange(length)
        back = (place[:, None] - place).float()
        slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        bias = torch.where(back >= 0.0, -slopes[:, None, None] * back, torch.tensor(-1e9))
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q = self.query(x).view(rows, length, self.heads, self.size).transpose(1, 2)
        k, v = self.keys(x).view(rows, length, 2, self.heads // 2, self.size).permute(2, 0, 3, 1, 4)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.size) + self.get_buffer("bias")
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, width))


class _Retention(nn.Module):
    """Linear attention whose past fades by a factor of each head, normed by head, behind a gate."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.into, self.out = nn.Linear(width, 4 * width, bias=False), nn.Linear(width, width, bias=False)
        self.norm = nn.GroupNorm(heads, width)
        place = torch.arange(length)
        back = (place[:, None] - place).float()
        keep = 1.0 - 2.0 ** (-3.0 - torch.arange(heads))
        fades = torch.where(back >= 0.0, keep[:, None, None] ** back.clamp_min(0.0), torch.tensor(0.0))
        self.register_buffer("fades", fades / fades.sum(-1, keepdim=True).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        mixed, gate = self.into(x).split((3 * width, width), -1)
        q, k, v = mixed.view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        past = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) * self.get_buffer("fades")) @ v
        flat = past.transpose(1, 2).reshape(rows * length, width)
        return self.out(nn.functional.silu(gate) * self.norm(flat).view(rows, length, width))


class _Block(nn.Module):
    """Pre-norm block of a mixer of places and a dense network."""

    def __init__(self, width: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mixer = nn.LayerNorm(width), nn.LayerNorm(width), mixer
        self.feed = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.feed(self.norm2(x))


class _Model(nn.Module):
    """Blocks between an embedding and a head with the same weights."""

    def __init__(self, width: int, blocks: nn.Sequential) -> None:
        super().__init__()
        self.embed, self.blocks, self.norm = nn.Embedding(_BYTES, width), blocks, nn.LayerNorm(width)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embed(tokens))) @ self.embed.weight.T


def bytes_alibi(seed: int) -> Instance:
    """Two blocks of width 48, four heads with slopes that share keys in pairs, tied weights; context 48, batch 12."""
    model = _Model(48, nn.Sequential(*(_Block(48, _Slopes(48, 4, 48)) for _ in range(2))))
    return language(model, 48, 12, seed, text_bytes())


def bytes_retention(seed: int) -> Instance:
    """Two blocks of width 48 with retention, four heads, tied weights; context 48, batch 12."""
    model = _Model(48, nn.Sequential(*(_Block(48, _Retention(48, 4, 48)) for _ in range(2))))
    return language(model, 48, 12, seed, text_bytes())
