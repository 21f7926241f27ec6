"""Embeddings: ratings, words, clicks and preferences."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import text_words
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled, squared_error


class _Factors(nn.Module):
    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, rank), nn.Embedding(items, rank)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for table in (self.users, self.items, self.user_bias, self.item_bias):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, pairs: Tensor) -> Tensor:
        user, item = pairs[:, 0], pairs[:, 1]
        bias = self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]
        return (self.users(user) * self.items(item)).sum(-1) + bias


def matrix_factorisation(seed: int) -> Instance:
    """Ratings of 800 users for 500 items, rank 6 with noise 0.4, 40,000 of them known; batch 256."""
    draw = generator(seed, "data")
    left, right = torch.randn(800, 6, generator=draw), torch.randn(500, 6, generator=draw) / 6**0.5
    pairs = torch.stack([torch.randint(n, (44_000,), generator=draw) for n in (800, 500)], -1)
    ratings = (left[pairs[:, 0]] * right[pairs[:, 1]]).sum(-1) + 0.4 * torch.randn(44_000, generator=draw)
    return Instance(
        _Factors(800, 500, 8),
        shuffled((pairs[4_000:], ratings[4_000:]), 256, seed),
        squared_error,
        held_out(squared_error, (pairs[:4_000], ratings[:4_000])),
    )


class _WordPairs(nn.Module):
    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.centre, self.context = nn.Embedding(words, width), nn.Embedding(words, width)
        for table in (self.centre, self.context):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, centre: Tensor, contexts: Tensor) -> Tensor:
        return (self.centre(centre)[:, None] * self.context(contexts)).sum(-1)


def skip_gram(seed: int) -> Instance:
    """Words of Tiny Shakespeare: tell a neighbour from 4 words drawn by frequency; width 32, batch 128."""
    train, test = text_words(1_000)

    def draw(text: Tensor, size: int, source: torch.Generator) -> Batch:
        place = torch.randint(4, len(text) - 4, (size,), generator=source)
        distance = torch.randint(1, 4, (size,), generator=source)
        side = 2 * torch.randint(2, (size,), generator=source) - 1
        others = train[torch.randint(len(train), (size, 4), generator=source)]
        contexts = torch.cat([text[place + side * distance][:, None], others], 1)
        return text[place], contexts, (torch.arange(5) == 0).float().expand(size, 5)

    def batches() -> Iterator[Batch]:
        order = generator(seed, "order")
        while True:
            yield draw(train, 128, order)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(model(batch[0], batch[1]), batch[2])

    known = draw(test, 4_000, torch.Generator().manual_seed(7))
    return Instance(_WordPairs(1_000, 32), batches(), loss, held_out(loss, known))


class _Clicks(nn.Module):
    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.body = dense(len(sizes) * width, 64, 32, 1)

    def forward(self, codes: Tensor) -> Tensor:
        return self.body(torch.cat([table(codes[:, i]) for i, table in enumerate(self.tables)], -1))[:, 0]


def click_through(seed: int) -> Instance:
    """Clicks from five categories with pairwise effects, embeddings of width 8 and a dense network; batch 128."""
    draw, sizes, rows = generator(seed, "data"), (300, 200, 100, 30, 10), 44_000
    # Frequencies of a category fall as those of words do.
    codes = torch.stack([(torch.rand(rows, generator=draw) ** 2 * size).long() for size in sizes], -1)
    hidden = [torch.randn(size, 4, generator=draw) for size in sizes]
    parts = torch.stack([table[codes[:, i]] for i, table in enumerate(hidden)])
    pairs = (parts.sum(0) ** 2 - (parts**2).sum(0)).sum(-1) / 2
    clicks = torch.bernoulli(torch.sigmoid(0.4 * pairs - 1.5), generator=draw)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(model(batch[0]), batch[1])

    return Instance(
        _Clicks(sizes, 8),
        shuffled((codes[4_000:], clicks[4_000:]), 128, seed),
        loss,
        held_out(loss, (codes[:4_000], clicks[:4_000])),
    )


class _Preferences(nn.Module):
    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.users, self.items, self.bias = nn.Embedding(users, rank), nn.Embedding(items, rank), nn.Embedding(items, 1)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.bias.weight)

    def forward(self, user: Tensor, items: Tensor) -> Tensor:
        return (self.users(user)[:, None] * self.items(items)).sum(-1) + self.bias(items)[..., 0]


def preferences(seed: int) -> Instance:
    """What 800 users chose of 500 items, 40,000 choices: tell one from an item drawn evenly; rank 16, batch 128."""
    draw = generator(seed, "data")
    tastes, traits = torch.randn(800, 6, generator=draw), torch.randn(500, 6, generator=draw) / 6**0.5
    chances = torch.softmax(1.5 * tastes @ traits.T + torch.randn(500, generator=draw), -1)
    users = torch.randint(800, (44_000,), generator=draw)
    chosen = torch.multinomial(chances[users], 1, generator=draw)[:, 0]
    noise = generator(seed, "noise")

    def pairs(user: Tensor, item: Tensor, source: torch.Generator) -> Batch:
        return user, torch.stack([item, torch.randint(500, item.shape, generator=source)], -1)

    def batches() -> Iterator[Batch]:
        for user, item in shuffled((users[4_000:], chosen[4_000:]), 128, seed):
            yield pairs(user, item, noise)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        scores = model(*batch)
        return nn.functional.softplus(scores[:, 1] - scores[:, 0]).mean()

    known = pairs(users[:4_000], chosen[:4_000], torch.Generator().manual_seed(7))
    return Instance(_Preferences(800, 500, 16), batches(), loss, held_out(loss, known))
