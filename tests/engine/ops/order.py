"""Rows of curvestep.engine.rules.order: every function is of squares, so that what is picked has a second tangent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.engine.ops.row import Row, apart, normal

aten = torch.ops.aten


def squared(run: Any) -> Any:
    return lambda x: run(x * (1 + 0.1 * x))


def picked(name: str, run: Any, desc: str = "", shape: tuple[int, ...] = (3, 5), **more: Any) -> Row:
    return Row(f"aten.{name}", squared(run), [apart(*shape)], desc, smooth=False, **more)


def both_ends(x: Tensor) -> Tensor:
    low, high = torch.aminmax(x, dim=1)
    return torch.stack([low, high], 1)


def some_missing(x: Tensor) -> Tensor:
    return torch.where(torch.arange(x.shape[-1]) == 1, torch.nan, x)


ROWS = [
    picked("amax.default", lambda x: x.amax(1)),
    picked("amax.default", lambda x: x.amax((1, 2), keepdim=True), "axes, kept", (3, 4, 2)),
    picked("amax.default", lambda x: (x - x.detach() + 1.0).amax(1), "ties"),
    picked("amin.default", lambda x: x.amin(-1)),
    picked("max.default", torch.max, "on weights", (4, 3), sampled=()),
    picked("min.default", torch.min, "on weights", (4, 3), sampled=()),
    picked("median.default", torch.median, "on weights", (4, 3), sampled=()),
    picked("nanmedian.default", torch.nanmedian, "on weights", (4, 3), sampled=()),
    picked("aminmax.default", both_ends),
    picked("aminmax.default", lambda x: torch.stack(torch.aminmax(x)), "on weights", (4, 3), sampled=()),
    picked("median.dim", lambda x: x.median(1).values),
    picked("median.dim", lambda x: x.median(1, keepdim=True).values, "kept"),
    picked("nanmedian.dim", lambda x: some_missing(x).nanmedian(1).values),
    picked("mode.default", lambda x: x.mode(1).values),
    picked("kthvalue.default", lambda x: x.kthvalue(2, 1).values),
    picked("kthvalue.default", lambda x: x.kthvalue(2).values, "last axis"),
    picked("sort.default", lambda x: x.sort(1).values),
    picked("sort.default", lambda x: x.msort(), "msort of weights", (5, 2), sampled=()),
    picked("sort.default", lambda x: x.quantile(0.3, 1), "quantile"),
    picked("sort.stable", lambda x: x.sort(dim=1, stable=True).values),
    picked("topk.default", lambda x: x.topk(2).values),
    picked("topk.default", lambda x: x.topk(2, 1, largest=False).values, "smallest", (3, 4, 2)),
    picked("cummax.default", lambda x: x.cummax(1).values),
    picked("cummin.default", lambda x: x.cummin(1).values),
    Row(
        "aten.nansum.default",
        lambda x: some_missing(x * x).nansum(1),
        [normal(3, 4)],
        explicit=lambda x: (x * x)[:, [0, 2, 3]].sum(1),
    ),
    Row(
        "aten.nansum.default",
        lambda x: some_missing(x * x).nanmean((1, 2)),
        [normal(3, 2, 4)],
        "nanmean",
        explicit=lambda x: (x * x)[..., [0, 2, 3]].mean((1, 2)),
    ),
    Row(
        "aten.nansum.default",
        lambda x: some_missing(x * x).nansum(),
        [normal(3, 4)],
        "of weights",
        (),
        explicit=lambda x: (x * x)[:, [0, 2, 3]].sum(),
    ),
    Row("aten.var_mean.correction", lambda x: torch.var_mean(x, 1), [normal(3, 4)]),
    Row(
        "aten.var_mean.correction",
        lambda x: torch.var_mean(x, (1, 2), correction=0, keepdim=True),
        [normal(3, 4, 2)],
        "axes, kept",
    ),
    Row("aten.std_mean.correction", lambda x: torch.std_mean(x, 1), [normal(3, 4)]),
    Row("aten.std_mean.correction", torch.std_mean, [normal(4, 3)], "of weights", sampled=()),
    Row("aten.argmax.default", lambda x: x * x + x.argmax(1, keepdim=True), [apart(3, 5)], smooth=False),
    Row("aten.argmin.default", lambda x: (x * x).gather(1, x.argmin(1, True)), [apart(3, 5)], smooth=False),
    Row("aten.any.dim", lambda x: x * x + x.any(1, keepdim=True), [normal(3, 5)]),
    Row("aten.all.dim", lambda x: x * x + x.all(1, keepdim=True), [normal(3, 5)]),
]
