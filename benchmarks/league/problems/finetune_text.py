"""Training that starts from a trained language model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_bytes
from benchmarks.league.problems.feed import cross_entropy, generator, held_out, shuffled
from benchmarks.league.problems.finetune import trained

_BYTES, _LENGTH, _WIDTH = 128, 40, 48


class _Reader(nn.Module):
    """A causal transformer of two blocks, layer norm before each part; its head reads all places or the last."""

    def __init__(self, outputs: int, last: bool) -> None:
        super().__init__()
        self.last = last
        self.embed, self.place = nn.Embedding(_BYTES, _WIDTH), nn.Parameter(torch.randn(_LENGTH, _WIDTH) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.02)
        block = nn.TransformerEncoderLayer
        self.blocks = nn.ModuleList(
            block(_WIDTH, 4, 3 * _WIDTH, 0.1, "gelu", batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, later = self.embed(tokens) + self.place, torch.ones(_LENGTH, _LENGTH, dtype=torch.bool).triu(1)
        for block in self.blocks:
            hidden = block(hidden, src_mask=later)
        return self.head(self.norm(hidden[:, -1] if self.last else hidden))


def _following(seed: int) -> Iterator[Batch]:
    """Yield windows of the text and the next bytes."""
    train, _ = text_bytes()
    order = generator(seed, "order")
    while True:
        rows = train[torch.randint(len(train) - _LENGTH - 1, (12, 1), generator=order) + torch.arange(_LENGTH + 1)]
        yield rows[:, :-1], rows[:, 1:]


@cache
def _language(seed: int) -> dict[str, Tensor]:
    """Return the state of a reader trained to tell the next byte."""
    return trained(lambda: _Reader(_BYTES, False), _following(seed + 50), seed, 400)


def _orders(text: Tensor, count: int, draw: torch.Generator) -> Batch:
    """Return windows of a text, the words of every other one in a random order, and 1 for these."""
    rows = text[torch.randint(len(text) - _LENGTH, (count, 1), generator=draw) + torch.arange(_LENGTH)].clone()
    for row in rows[1::2]:
        words = bytes(row.tolist()).split(b" ")
        mixed = [words[place] for place in torch.randperm(len(words), generator=draw).tolist()]
        row.copy_(torch.tensor(list(b" ".join(mixed))))
    return rows, torch.arange(count) % 2


def finetune_order(seed: int) -> Instance:
    """All weights of a byte transformer, on 2,000 windows whose words are in order or not; dropout 0.1, batch 16."""
    train, test = text_bytes()
    known = _orders(test, 1_000, torch.Generator().manual_seed(7))
    model = _Reader(2, True)
    own = model.state_dict()
    model.load_state_dict({name: own[name] if "head" in name else part for name, part in _language(seed).items()})
    batches = shuffled(_orders(train, 2_000, generator(seed, "data")), 16, seed)
    return Instance(model, batches, cross_entropy, held_out(cross_entropy, known))
