"""Tables of numbers: regression and classification."""

from __future__ import annotations

import torch
from sklearn.datasets import load_diabetes, make_classification, make_friedman1
from torch import Tensor, nn

from benchmarks.league.problem import Instance
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
