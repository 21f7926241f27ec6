"""Embeddings of hashed pieces of text."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_bytes
from benchmarks.league.problems.feed import cross_entropy, dense, generator, held_out

_BUCKETS, _LONGEST = 8_192, 4


def _hashed(text: Tensor, places: Tensor) -> Tensor:
    """Return the buckets of the 1 to 4 bytes before each place."""
    codes, found = torch.zeros_like(places), []
    for back in range(1, _LONGEST + 1):
        codes = codes * 131 + text[places - back] + 1
        found.append((codes * 2_654_435_761 + back * 97) % 1_000_003 % _BUCKETS)
    return torch.stack(found, -1)


class _Pieces(nn.Module):
    """The embeddings of the pieces beside each other, and a dense network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.dense = nn.Embedding(_BUCKETS, width), dense(_LONGEST * width, 96, 128)
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, pieces: Tensor) -> Tensor:
        return self.dense(self.embed(pieces).flatten(-2))


def ngrams(seed: int) -> Instance:
    """The next byte from hashed pieces of 1 to 4 bytes, embeddings of width 12 in 8,192 buckets; batch 128."""
    train, test = text_bytes()
    order = generator(seed, "order")

    def batches() -> Iterator[Batch]:
        while True:
            places = torch.randint(_LONGEST, len(train), (128,), generator=order)
            yield _hashed(train, places), train[places]

    places = torch.arange(_LONGEST, len(test), len(test) // 4_000)
    return Instance(
        _Pieces(12), batches(), cross_entropy, held_out(cross_entropy, (_hashed(test, places), test[places]))
    )
