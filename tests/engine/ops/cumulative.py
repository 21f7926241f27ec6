"""Rows of curvestep.engine.rules.cumulative."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.engine.ops.row import Row, normal


def with_zeros(x: Tensor, count: int) -> Tensor:
    """The first entries of each row become zero, and still move."""
    return torch.where(torch.arange(x.shape[-1]) < count, x - x.detach(), x)


def product(x: Tensor) -> Tensor:
    out = x[..., 0]
    for i in range(1, x.shape[-1]):
        out = out * x[..., i]
    return out


def products(x: Tensor) -> Tensor:
    return torch.stack([product(x[..., : i + 1]) for i in range(x.shape[-1])], -1)


def log_sums(x: Tensor) -> Tensor:
    return torch.stack([x[..., : i + 1].logsumexp(-1) for i in range(x.shape[-1])], -1)


ROWS = [
    Row("aten.prod.dim_int", lambda x: x.prod(1), [normal(3, 5)], explicit=product),
    Row("aten.prod.dim_int", lambda x: x.prod(1, keepdim=True), [normal(3, 4, 2)], "kept"),
    Row("aten.prod.dim_int", lambda x: x.prod(1), [normal(3, 1)], "one factor"),
    *[
        Row(
            "aten.prod.dim_int",
            lambda x, n=n: with_zeros(x, n).prod(1),
            [normal(3, 4)],
            f"{n} zeros",
            explicit=lambda x, n=n: product(with_zeros(x, n)),
            smooth=False,
        )
        for n in (1, 2, 3)
    ],  # detached values: central differences would move them  # fmt: skip
    Row("aten.prod.default", torch.prod, [normal(2, 3)], "of weights", sampled=()),
    Row("aten.cumprod.default", lambda x: x.cumprod(1), [normal(3, 6)], explicit=products),
    Row(
        "aten.cumprod.default",
        lambda x: with_zeros(x, 2).cumprod(1),
        [normal(3, 5)],
        "two zeros",
        explicit=lambda x: products(with_zeros(x, 2)),
        smooth=False,
    ),
    Row("aten.logcumsumexp.default", lambda x: x.logcumsumexp(1), [normal(3, 6)], explicit=log_sums),
    Row(
        "aten.logcumsumexp.default",
        lambda x: (x * 40).logcumsumexp(1),
        [normal(3, 5)],
        "wide",
        explicit=lambda x: log_sums(x * 40),
        smooth=False,
    ),
]  # a wide range is out of reach of central differences with a step of 1/32
