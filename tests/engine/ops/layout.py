"""Rows of curvestep.engine.rules.layout and reparameterized, and of packed sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Row, normal, positive

aten = torch.ops.aten


def weight_norm(v: Tensor, g: Tensor) -> Tensor:
    return torch._weight_norm(v, g, 0)


def weight_norm_formula(v: Tensor, g: Tensor) -> Tensor:
    return g * v / v.square().sum(list(range(1, v.dim())), keepdim=True).sqrt()


def swapped_in_place(x: Tensor) -> Tensor:
    z = x * x
    return z.transpose_(1, 2)


def packed(x: Tensor) -> Tensor:
    data, _ = aten._pack_padded_sequence.default((x * x).transpose(0, 1), torch.tensor([4, 2, 1, 1]), False)
    return data


def cut(name: str, run: Any, desc: str = "", shape: tuple[int, ...] = (3, 4)) -> Row:
    return Row(f"aten.{name}", lambda x: run(x * x), [normal(*shape)], desc)


ROWS = [
    Row("aten.diag_embed.default", lambda x: torch.diag_embed(x * x), [normal(3, 4)]),
    Row("aten.diag_embed.default", lambda x: torch.diag_embed(x * x, 1, 1, 2), [normal(3, 4)], "off the diagonal"),
    Row("aten.trace.default", lambda x: (x * x).trace(), [normal(4, 4)], sampled=()),
    Row("aten.transpose_.default", swapped_in_place, [normal(3, 2, 4)]),
    Row("aten._pack_padded_sequence.default", packed, [normal(4, 4, 2)], sampled=()),
    Row(
        "aten._weight_norm_interface.default",
        weight_norm,
        [normal(4, 5), positive(4, 1)],
        sampled=(),
        explicit=weight_norm_formula,
    ),
    Row(
        "aten._weight_norm_interface.default",
        weight_norm,
        [normal(4, 5, 2), positive(4, 1, 1)],
        "kernel",
        sampled=(),
        explicit=weight_norm_formula,
    ),
    Row("aten.native_batch_norm.default", lambda x: F.instance_norm(x), [normal(3, 2, 5)], "instance, plain"),
    cut("narrow_copy.default", lambda x: torch.narrow_copy(x, 1, 1, 2)),
    cut("diagonal_copy.default", lambda x: torch.diagonal_copy(x, 0, 1, 2), shape=(3, 4, 4)),
    cut("expand_copy.default", lambda x: torch.expand_copy(x, (2, 3, 4)), shape=(1, 3, 4)),
    cut("permute_copy.default", lambda x: torch.permute_copy(x, (0, 2, 1)), shape=(3, 2, 4)),
    cut("select_copy.int", lambda x: torch.select_copy(x, 1, 2)),
    cut("slice_copy.Tensor", lambda x: torch.slice_copy(x, 1, 1, 3)),
    cut("squeeze_copy.default", torch.squeeze_copy, shape=(3, 1, 4)),
    cut("squeeze_copy.dim", lambda x: torch.squeeze_copy(x, 1), shape=(3, 1, 4)),
    cut("squeeze_copy.dims", lambda x: torch.squeeze_copy(x, (1, 2)), shape=(3, 1, 1, 4)),
    cut("t_copy.default", lambda x: torch.t_copy(x).t()),
    cut("transpose_copy.int", lambda x: torch.transpose_copy(x, 1, 2), shape=(3, 2, 4)),
    cut("unsqueeze_copy.default", lambda x: torch.unsqueeze_copy(x, 1)),
    cut("view_copy.default", lambda x: torch.view_copy(x, (3, 2, 2))),
    cut("alias_copy.default", torch.alias_copy),
    cut("split_copy.Tensor", lambda x: torch.split_copy(x, 2, 1)),
    cut("split_with_sizes_copy.default", lambda x: torch.split_with_sizes_copy(x, [1, 3], 1)),
    cut("unbind_copy.int", lambda x: torch.unbind_copy(x, 1)),
    cut("unfold_copy.default", lambda x: torch.unfold_copy(x, 1, 2, 1)),
    cut("view_as_real_copy.default", lambda x: torch.view_as_real_copy(torch.complex(x, x * x))),
]
