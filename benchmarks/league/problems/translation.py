"""From one text to another: an encoder and a decoder that looks at what was encoded."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_bytes
from benchmarks.league.problems.feed import cross_entropy, generator, held_out

_BYTES, _LENGTH = 128, 24


class _EncoderDecoder(nn.Module):
    """A block that reads and one that writes, layer norm before each part, dropout 0.1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(_BYTES, width), nn.Parameter(torch.randn(2, _LENGTH, width) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.02)
        part = width, 4, 2 * width, 0.1, "gelu"
        self.encoder = nn.TransformerEncoderLayer(*part, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoderLayer(*part, batch_first=True, norm_first=True)
        self.read, self.norm, self.head = nn.LayerNorm(width), nn.LayerNorm(width), nn.Linear(width, _BYTES)

    def forward(self, pair: Tensor) -> Tensor:
        source, written = (self.embed(pair) + self.places).unbind(1)
        later = torch.ones(_LENGTH, _LENGTH, dtype=torch.bool).triu(1)
        written = self.decoder(written, self.read(self.encoder(source)), tgt_mask=later)
        return self.head(self.norm(written))


def _misspelt(rows: Tensor, letters: Tensor, source: torch.Generator) -> Batch:
    """Return rows with a tenth of the bytes left out or replaced, what is before each byte, and the rows."""
    chance = torch.rand(rows.shape, generator=source)
    other = letters[torch.randint(len(letters), rows.shape, generator=source)]
    order = (chance < 0.05).to(torch.uint8).argsort(stable=True)
    wrong = torch.where(chance > 0.95, other, rows).masked_fill(chance < 0.05, 0).gather(1, order)
    written = torch.nn.functional.pad(rows[:, :-1], (1, 0))
    return torch.stack([wrong, written], 1), rows


def spelling(seed: int) -> Instance:
    """Tiny Shakespeare from itself with wrong and missing bytes, 24 at a time; width 48, batch 16."""
    train, test = text_bytes()
    order, noise = generator(seed, "order"), generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        while True:
            starts = torch.randint(len(train) - _LENGTH, (16, 1), generator=order)
            yield _misspelt(train[starts + torch.arange(_LENGTH)], train, noise)

    rows = test[: len(test) // _LENGTH * _LENGTH].reshape(-1, _LENGTH)[::18]
    known = _misspelt(rows, train, torch.Generator().manual_seed(7))
    return Instance(_EncoderDecoder(48), batches(), cross_entropy, held_out(cross_entropy, known, 100))
