"""Rows of curvestep.engine.rules.reduce."""

from __future__ import annotations

from typing import Any

import torch

from tests.engine.ops.row import Row, apart, normal, positive

NORM = "aten.linalg_vector_norm.default"
VARIANCES = [("var", torch.var), ("std", torch.std)]


def norm(order: float, dims: Any, keep: bool = False) -> Any:
    return lambda x: torch.linalg.vector_norm(x, order, dims, keepdim=keep)


ROWS = [
    Row("aten.sum.default", lambda x: x.sum(), [normal(3, 4)], terms=lambda x: 3 * x.sum(1)),
    Row("aten.mean.default", lambda x: x.mean(), [normal(3, 4)], terms=lambda x: x.mean(1)),
    Row("aten.sum.default", torch.sum, [normal(4, 2)], "of weights", sampled=()),
    Row("aten.mean.default", torch.mean, [normal(4, 2)], "of weights", sampled=()),
    Row("aten.sum.dim_IntList", lambda x: x.sum(1), [normal(3, 4)]),
    Row("aten.sum.dim_IntList", lambda x: x.sum((-1, 1), keepdim=True), [normal(3, 4, 5)], "negative, keepdim"),
    # a linear loss that sums over the samples along an axis first: the split may be unknown, never wrong
    Row(
        "aten.sum.dim_IntList",
        lambda x: x.sum(0).sum(),
        [normal(3, 4)],
        "samples first",
        terms=lambda x: 3 * x.sum(1),
        exact=None,
    ),
    Row("aten.mean.dim", lambda x: x.mean(-1), [normal(3, 4)]),
    Row("aten.mean.dim", lambda x: x.mean((1, 2)), [normal(3, 4, 5)], "two axes"),
    Row(
        "aten.mean.dim",
        lambda x: x.mean(0).mean(),
        [normal(3, 4)],
        "samples first",
        terms=lambda x: x.mean(1),
        exact=None,
    ),
    Row("aten.mean.dim", lambda x: x - x.mean(0), [normal(3, 4)], "centred over the samples"),
    Row(NORM, norm(2, -1), [normal(3, 4)]),
    Row(NORM, norm(2, (1, 2), keep=True), [normal(3, 4, 2)], "keepdim"),
    Row(NORM, norm(1, 1), [apart(3, 4)], "order 1", smooth=False),
    Row(NORM, norm(3, 1), [positive(3, 4)], "order 3"),
    Row(NORM, norm(2.5, 1, keep=True), [positive(3, 4)], "order 2.5"),
    Row(NORM, norm(2, None), [normal(4, 2)], "of weights", sampled=()),
    Row(
        NORM,
        lambda w: w / torch.linalg.vector_norm(w, 2, (1,), keepdim=True),
        [normal(4, 2)],
        "weight norm",
        sampled=(),
    ),
    *[Row(f"aten.{name}.correction", lambda x, run=run: run(x, -1), [normal(3, 5)]) for name, run in VARIANCES],
    *[
        Row(
            f"aten.{name}.correction",
            lambda x, run=run: run(x, (1, 2), correction=0, keepdim=True),
            [normal(3, 4, 2)],
            "population, keepdim",
        )
        for name, run in VARIANCES
    ],
    *[
        Row(
            f"aten.{name}.correction",
            lambda x, run=run: run(x, 0, keepdim=True) * x,
            [normal(4, 2)],
            "over the samples",
        )
        for name, run in VARIANCES
    ],
    *[
        Row(f"aten.{name}.correction", lambda w, run=run: run(w), [normal(4, 2)], "of weights", sampled=())
        for name, run in VARIANCES
    ],
    Row("aten.logsumexp.default", lambda x: torch.logsumexp(x, 1), [normal(3, 4)]),
    Row("aten.logsumexp.default", lambda x: torch.logsumexp(x, (-1, 1), keepdim=True), [normal(3, 4, 2)], "keepdim"),
    Row("aten.max.dim", lambda x: x.max(1)[0], [apart(3, 4)], smooth=False),
    Row("aten.max.dim", lambda x: x.max(-2, keepdim=True)[0], [apart(3, 4, 2)], "negative, keepdim", smooth=False),
    Row("aten.min.dim", lambda x: x.min(-1)[0], [apart(3, 4)], smooth=False),
    Row("aten.min.dim", lambda x: x.min(1, keepdim=True)[0], [apart(3, 4, 2)], "keepdim", smooth=False),
    Row("aten.cumsum.default", lambda x: x.cumsum(-1), [normal(3, 4)]),
    Row("aten.cumsum.default", lambda x: x.cumsum(0), [normal(3, 4)], "over the samples", exact=None),
]
