"""Tables of numbers: regression and classification."""

from __future__ import annotations

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, make_classification, make_friedman1
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import digits
from benchmarks.league.problems.feed import (
    cross_entropy,
    dense,
    generator,
    held_out,
    normal_start,
    shuffled,
    squared_error,
)


def friedman_batchnorm(seed: int) -> Instance:
    """Friedman's first regression with noise, 6,000 rows, a network 10-64-64-1 with batch norm, batch 64."""
    inputs, targets = make_friedman1(8_000, noise=1.0, random_state=seed)
    x = torch.tensor(inputs, dtype=torch.float32) * 2.0 - 1.0
    y = torch.tensor(targets, dtype=torch.float32)[:, None]
    y = (y - y[2_000:].mean()) / y[2_000:].std()
    return Instance(
        dense(10, 64, 64, 1, norm=True),
        shuffled((x[2_000:], y[2_000:]), 64, seed),
        squared_error,
        held_out(squared_error, (x[:2_000], y[:2_000])),
        tuple((x[start : start + 250],) for start in range(2_000, 4_000, 250)),
    )


def _clusters(seed: int) -> tuple[Tensor, Tensor]:
    inputs, labels = make_classification(
        12_000, 30, n_informative=15, n_classes=5, n_clusters_per_class=3, flip_y=0.05, random_state=seed
    )
    x = torch.tensor(inputs, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0), torch.tensor(labels)


def clusters_dropout(seed: int) -> Instance:
    """Five classes of three clusters each, 10,000 rows, a network 30-128-64-5 with dropout 0.2, batch 64."""
    x, y = _clusters(seed)
    model = nn.Sequential(
        nn.Linear(30, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 5)
    )
    evaluate = held_out(cross_entropy, (x[:2_000], y[:2_000]))
    return Instance(model, shuffled((x[2_000:], y[2_000:]), 64, seed), cross_entropy, evaluate)


def diabetes(seed: int) -> Instance:
    """Scikit-learn's diabetes, 332 patients, 110 others held out by the seed, a tanh network 10-16-1, batch 32."""
    inputs, targets = load_diabetes(return_X_y=True)
    order = torch.randperm(len(inputs), generator=generator(seed, "data"))
    x = torch.tensor(inputs, dtype=torch.float32)[order]
    y = torch.tensor(targets, dtype=torch.float32)[order, None]
    x, y = ((part - part[110:].mean(0)) / part[110:].std(0) for part in (x, y))
    evaluate = held_out(squared_error, (x[:110], y[:110]))
    model = dense(10, 16, 1, activation=nn.Tanh)
    return Instance(model, shuffled((x[110:], y[110:]), 32, seed), squared_error, evaluate)


def digits_selu(seed: int) -> Instance:
    """Scikit-learn's digits, 1,400 of them, a self-normalising network of six hidden layers of 48, batch 32."""
    x, y = digits()
    model = dense(64, *[48] * 6, 10, activation=nn.SELU)
    normal_start(model, "linear")
    evaluate = held_out(cross_entropy, (x[1_400:], y[1_400:]))
    return Instance(model, shuffled((x[:1_400], y[:1_400]), 32, seed), cross_entropy, evaluate)


def _log_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of two classes from one score."""
    return nn.functional.binary_cross_entropy_with_logits(model(batch[0]), batch[1])


def tumours(seed: int) -> Instance:
    """Scikit-learn's breast cancers, 427 of them, 142 held out by the seed, 30-32-16-1 with dropout 0.2, batch 32."""
    inputs, targets = load_breast_cancer(return_X_y=True)
    order = torch.randperm(len(inputs), generator=generator(seed, "data"))
    x = torch.tensor(inputs, dtype=torch.float32)[order]
    y = torch.tensor(targets, dtype=torch.float32)[order, None]
    x = (x - x[142:].mean(0)) / x[142:].std(0)
    model = nn.Sequential(
        nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1)
    )
    evaluate = held_out(_log_loss, (x[:142], y[:142]))
    return Instance(model, shuffled((x[142:], y[142:]), 32, seed), _log_loss, evaluate)


class _Tokens(nn.Module):
    """A transformer whose tokens are the columns of a table: eight numbers and two categories."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.slopes, self.shifts = (nn.Parameter(torch.randn(8, width) / width**0.5) for _ in range(2))
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in (6, 12))
        self.answer = nn.Parameter(torch.randn(1, width) / width**0.5)
        block = nn.TransformerEncoderLayer
        self.blocks = nn.ModuleList(
            block(width, 4, 2 * width, 0.1, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        first = numbers[..., None] * self.slopes + self.shifts
        hidden = torch.cat(
            [self.answer.expand(len(first), 1, -1), first]
            + [table(categories[:, i : i + 1]) for i, table in enumerate(self.tables)],
            1,
        )
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden[:, 0]))[:, 0]


def feature_tokens(seed: int) -> Instance:
    """A sum of 30 small trees and long-tailed noise, 8,000 rows, a transformer of columns, Huber's loss, batch 64.

    A tree asks whether three numbers are above a bound and has a value for each answer, and the second of its numbers
    is shifted by a category.

    Returns:
        The instance.
    """
    draw, rows, trees = generator(seed, "data"), 10_000, 30
    numbers = torch.randn(rows, 8, generator=draw)
    categories = torch.stack([torch.randint(size, (rows,), generator=draw) for size in (6, 12)], -1)
    y = torch.zeros(rows)
    for tree in range(trees):
        asked = torch.randperm(8, generator=draw)[:3]
        bounds, shifts = torch.randn(3, generator=draw), torch.randn(12, generator=draw)
        values = numbers[:, asked] - bounds
        values[:, 1] += shifts[categories[:, tree % 2]]
        leaf = ((values > 0.0).long() * torch.tensor([1, 2, 4])).sum(-1)
        y += torch.randn(8, generator=draw)[leaf]
    y = (y - y.mean()) / y.std()
    tails = torch.randn(rows, 3, generator=draw).square().mean(-1).sqrt()
    y = y + 0.3 * torch.randn(rows, generator=draw) / tails

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.huber_loss(model(batch[0], batch[1]), batch[2])

    evaluate = held_out(loss, (numbers[:2_000], categories[:2_000], y[:2_000]))
    batches = shuffled((numbers[2_000:], categories[2_000:], y[2_000:]), 64, seed)
    return Instance(_Tokens(32), batches, loss, evaluate)
