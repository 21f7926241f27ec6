"""Language models on bytes and words, one of them with experts, and a transformer that sorts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_bytes, text_words
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


def language(model: nn.Module, length: int, size: int, seed: int, text: tuple[Tensor, Tensor]) -> Instance:
    """Return the problem of the next token: windows of ``length`` from the first text, held out from the second."""
    train, test = text
    rows = test[torch.arange(0, len(test) - length - 1, math.ceil(len(test) / 120))[:, None] + torch.arange(length + 1)]
    evaluate = held_out(cross_entropy, (rows[:, :-1], rows[:, 1:]), 60)
    return Instance(model, _windows(train, length, size, seed), cross_entropy, evaluate)


def bytes_llama(seed: int) -> Instance:
    """Two blocks of width 64 with rotary positions, SwiGLU and RMS norm; context 48, batch 12."""
    return language(_Llama(64, 2, 4, 48), 48, 12, seed, text_bytes())


def bytes_gpt(seed: int) -> Instance:
    """Two blocks of width 48 with layer norm, GELU, dropout 0.1; context 48, batch 12."""
    return language(_Transformer(_BYTES, 48, 2, 48, 0.1, True), 48, 12, seed, text_bytes())


def bytes_gru(seed: int) -> Instance:
    """One GRU layer of width 96; context 32, batch 12."""
    return language(_Recurrent(96), 32, 12, seed, text_bytes())


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


class _GatedConvolution(nn.Module):
    """A causal convolution over four places with a gate, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Conv1d(width, 2 * width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.glu(self.body(nn.functional.pad(x, (3, 0))), 1)


class _Convolutional(nn.Module):
    def __init__(self, words: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(words, width), nn.Linear(width, words)
        self.blocks = nn.Sequential(*(_GatedConvolution(width) for _ in range(blocks)))
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(tokens).transpose(1, 2)).transpose(1, 2))


def words_convolution(seed: int) -> Instance:
    """The next of 1,000 words, three gated convolutions of width 64 without a norm; context 24, batch 12."""
    return language(_Convolutional(1_000, 64, 3), 24, 12, seed, text_words(1_000))


class _PostNorm(nn.Module):
    """A transformer with layer norm behind the sums, as in BERT; it sees both sides."""

    def __init__(self, width: int, blocks: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(_BYTES, width), nn.Parameter(torch.randn(length, width) * 0.02)
        block = nn.TransformerEncoderLayer
        self.blocks = nn.ModuleList(block(width, 4, 4 * width, 0.1, "gelu", batch_first=True) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, _BYTES)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.norm(self.embed(tokens) + self.place)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden)


def _masked(rows: Tensor, source: torch.Generator) -> Batch:
    """Return rows in which seven places each are 0, a byte that no text has, and the targets, which only these have."""
    places = torch.rand(rows.shape, generator=source).argsort(1)[:, :7]
    hidden = torch.zeros(rows.shape, dtype=torch.bool).scatter(1, places, True)
    return rows.masked_fill(hidden, 0), rows.masked_fill(~hidden, -100)


def masked_bytes(seed: int) -> Instance:
    """Seven bytes of 48 behind masks, two blocks of width 48, layer norm behind the sums, dropout 0.1; batch 12."""
    train, test = text_bytes()
    noise = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for rows, _ in _windows(train, 48, 12, seed):
            yield _masked(rows, noise)

    known = _masked(test[: len(test) // 48 * 48].reshape(-1, 48)[::8], torch.Generator().manual_seed(7))
    return Instance(_PostNorm(48, 2, 48), batches(), cross_entropy, held_out(cross_entropy, known, 60))


class _Experts(nn.Module):
    """Four dense experts of which each token asks its best two, weighted by the softmax of their scores."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, width, inner) / width**0.5)
        self.down = nn.Parameter(torch.randn(4, inner, width) / inner**0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the experts add, and for each row how uneven its tokens ask them, 1 where evenly."""
        scores = self.router(x)
        asked = torch.zeros(scores.shape, dtype=torch.bool).scatter(-1, scores.topk(2).indices, True)
        weights = scores.masked_fill(~asked, -math.inf).softmax(-1)
        answers = nn.functional.gelu(x[:, None] @ self.up) @ self.down
        uneven = 2.0 * (asked.float().mean(1) * scores.softmax(-1).mean(1)).sum(-1)
        return (answers * weights.transpose(1, 2)[..., None]).sum(1), uneven


class _Sparse(nn.Module):
    """A causal transformer with rotary positions whose dense layers are experts; layer norm before each part."""

    def __init__(self, width: int, blocks: int, length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(_BYTES, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks + 1))
        self.attention = nn.ModuleList(_Rotary(width, 4, length) for _ in range(blocks))
        self.experts = nn.ModuleList(_Experts(width, 2 * width) for _ in range(blocks))
        self.head = nn.Linear(width, _BYTES)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        hidden, uneven = self.embed(tokens), torch.zeros(len(tokens))
        for number, (attention, experts) in enumerate(zip(self.attention, self.experts, strict=True)):
            hidden = hidden + attention(self.norms[2 * number](hidden))
            added, more = experts(self.norms[2 * number + 1](hidden))
            hidden, uneven = hidden + added, uneven + more
        return self.head(self.norms[-1](hidden)), uneven


def bytes_experts(seed: int) -> Instance:
    """Two blocks of width 48, four experts, two a token, 0.01 of a loss that keeps them all busy; context 48, batch 12.

    Held out: the cross-entropy alone.

    Returns:
        The instance.
    """

    def surprise(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0])[0].flatten(0, 1), batch[1].flatten())

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        scores, uneven = model(batch[0])
        return nn.functional.cross_entropy(scores.flatten(0, 1), batch[1].flatten()) + 0.01 * uneven.mean()

    train, test = text_bytes()
    rows = test[: len(test) // 49 * 49].reshape(-1, 49)[::19]
    evaluate = held_out(surprise, (rows[:, :-1], rows[:, 1:]), 60)
    return Instance(_Sparse(48, 2, 48), _windows(train, 48, 12, seed), loss, evaluate)
