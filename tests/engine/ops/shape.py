"""Rows of curvestep.engine.rules.shape."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from tests.engine.ops.row import Row, normal

aten = torch.ops.aten


def row(op: str, run: Any, *shape: int, desc: str = "", **options: Any) -> Row:
    """An operation that is linear in one input, after a square, so that second-order parts pass through it."""
    return Row(f"aten.{op}", lambda x: run(x * x), [normal(*shape)], desc, **options)


ROWS = [
    row("view.default", lambda x: x.view(3, 8), 3, 2, 4),
    row("view.default", lambda x: x.view(3, 2, 2, 2), 3, 2, 4, desc="split"),
    row("view.default", lambda x: x.view(6, 4).view(3, 8), 3, 2, 4, desc="samples fold with tokens"),
    row("_unsafe_view.default", lambda x: aten._unsafe_view(x, [3, 8]), 3, 2, 4),
    row("clone.default", lambda x: x.transpose(1, 2).clone(), 3, 2, 4),
    row("clone.default", lambda x: x.transpose(1, 2).contiguous(), 3, 2, 4, desc="contiguous"),
    row("alias.default", aten.alias, 3, 4),
    row("squeeze.default", torch.squeeze, 3, 1, 4, 1),
    row("squeeze.dim", lambda x: x.squeeze(-1), 3, 4, 1),
    row("squeeze.dim", lambda x: x.squeeze(1), 3, 4, 1, desc="nothing to squeeze"),
    row("squeeze.dims", lambda x: x.squeeze((1, -1)), 3, 1, 4, 1),
    row("unsqueeze.default", lambda x: x.unsqueeze(1), 3, 4),
    row("unsqueeze.default", lambda x: x.unsqueeze(-1), 3, 4, desc="last"),
    row("unsqueeze.default", lambda x: x.unsqueeze(0).squeeze(0), 3, 4, desc="before the samples"),
    row("permute.default", lambda x: x.permute(0, 3, -2, 1), 3, 2, 4, 5),
    row("permute.default", lambda x: x.permute(2, 0, 1).permute(1, 2, 0), 3, 2, 4, desc="there and back"),
    row("transpose.int", lambda x: x.transpose(-1, 1), 3, 2, 4),
    row("t.default", lambda x: x.t().t(), 3, 4),
    row("expand.default", lambda x: x.expand(3, 5, 4), 3, 1, 4),
    row("expand.default", lambda x: x.expand(2, 3, 4).permute(1, 0, 2), 3, 4, desc="new axis in front"),
    row("repeat.default", lambda x: x.repeat(1, 2), 3, 4),
    row("repeat.default", lambda x: x.repeat(2, 1).view(2, 3, 4).transpose(0, 1), 3, 4, desc="copies of the batch"),
    row("slice.Tensor", lambda x: x[:, 1:3], 3, 4),
    row("slice.Tensor", lambda x: x[..., -3::2], 3, 2, 5, desc="negative, step"),
    row("slice.Tensor", lambda x: x + 0 * x[1:].sum() + x[1:].mean(0), 3, 4, desc="of the samples", exact=None),
    row("slice.Tensor", lambda x: x.narrow(1, 1, 2), 3, 4, desc="narrow"),
    row("split.Tensor", lambda x: x.split(2, 1), 3, 4),
    row("split.Tensor", lambda x: x.chunk(2, -1), 3, 5, desc="uneven chunks"),
    row("split.Tensor", lambda x: x.split(2, 1)[0], 3, 4, desc="one of them unused"),
    row("unsafe_split.Tensor", lambda x: torch.unsafe_split(x, 2, 1), 3, 4),
    row("split_with_sizes.default", lambda x: x.split([1, 3], 1), 3, 4),
    row("unsafe_split_with_sizes.default", lambda x: aten.unsafe_split_with_sizes(x, [1, 3], 1), 3, 4),
    row("select.int", lambda x: x[:, -1], 3, 4),
    row("select.int", lambda x: x.select(-1, 2), 3, 2, 4, desc="last axis"),
    row("select.int", lambda x: x[1] * x, 3, 4, desc="of a sample", exact=None),
    row("unbind.int", lambda x: x.unbind(1), 3, 4),
    row("unbind.int", lambda x: x.unbind(-1), 3, 2, 4, desc="last axis"),
    row("tril.default", torch.tril, 3, 4, 4),
    row("triu.default", lambda x: torch.triu(x, 1), 3, 4, 4),
    row("tril.default", torch.tril, 3, 4, desc="across the samples", exact=None),
    row("diagonal.default", lambda x: x.diagonal(0, 1, 2), 3, 4, 4),
    row("diagonal.default", lambda x: x.diagonal(1, -1, -2), 3, 4, 5, desc="offset, negative"),
    row("flip.default", lambda x: x.flip(1), 3, 4),
    row("flip.default", lambda x: x.flip(0), 3, 4, desc="of the samples", exact=None),
    row("roll.default", lambda x: x.roll(2, -1), 3, 4),
    row("roll.default", lambda x: x.roll((1, 2), (1, 2)), 3, 4, 5, desc="two axes"),
    row("roll.default", lambda x: x.roll(1, 0), 3, 4, desc="of the samples", exact=None),
    row("constant_pad_nd.default", lambda x: F.pad(x, (1, 2), value=0.7), 3, 4),
    row("constant_pad_nd.default", lambda x: F.pad(x, (-1, 1, 2, 0)), 3, 4, 5, desc="crop"),
    *[
        row(f"{kind}_pad{n}d.default", lambda x, n=n, mode=mode: F.pad(x, (1, 2) * n, mode=mode), 3, 2, *[4] * n)
        for kind, mode in (("reflection", "reflect"), ("replication", "replicate"))
        for n in (1, 2, 3)
    ],
    row("view.default", lambda x: F.pad(x, (1, 2), mode="circular").flatten(1), 3, 2, 4, desc="circular padding"),
    Row("aten.cat.default", lambda a, b: torch.cat([a, a * b], 1), [normal(3, 4), normal(3, 4)], sampled=(0, 1)),
    Row(
        "aten.cat.default", lambda a, b: torch.cat([a, b.expand(3, 4)], -1), [normal(3, 4), normal(4)], "with a weight"
    ),
    Row(
        "aten.cat.default",
        lambda a, b: torch.cat([a * a, b * b]).view(2, 3, 4).transpose(0, 1),
        [normal(3, 4), normal(3, 4)],
        "of two batches",
        sampled=(0, 1),
    ),
    Row("aten.cat.default", lambda a, b: torch.cat([a, b], 0), [normal(2, 4), normal(5, 4)], "of weights", sampled=()),
    Row("aten.stack.default", lambda a, b: torch.stack([a, a * b], 1), [normal(3, 4), normal(3, 4)], sampled=(0, 1)),
    Row(
        "aten.stack.default",
        lambda a, b: torch.stack([a * a, b], 0).transpose(0, 1),
        [normal(3, 4), normal(3, 4)],
        "in front",
        sampled=(0, 1),
    ),
    Row(
        "aten.stack.default",
        lambda a, b: torch.stack([a, b], -1),
        [normal(2, 4), normal(2, 4)],
        "of weights",
        sampled=(),
    ),
]
