"""Rows of curvestep.engine.rules.linear and convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Draw, Row, normal

aten = torch.ops.aten


def conv(
    rank: int, desc: str, x: Draw, w: Draw, *, transposed: bool = False, bias: bool = False, **options: Any
) -> Row:
    run = getattr(F, f"conv{'_transpose' if transposed else ''}{rank}d")

    def function(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return run(x, w, b, **options)

    channels = w.shape[1] * options.get("groups", 1) if transposed else w.shape[0]
    name = f"{rank}d {'transposed ' if transposed else ''}{desc}{' bias' if bias else ''}"
    return Row("aten.convolution.default", function, [x, w, *([normal(channels)] if bias else [])], name)


def einsum(formula: str) -> Callable[..., Tensor]:
    return lambda *operands: torch.einsum(formula, *operands)


def by_sparse(w: Tensor) -> Tensor:
    """A constant sparse matrix times w."""
    return torch.sparse.mm(
        torch.tensor([[0.0, 1.5, 0.0, 0.0], [2.0, 0.0, -1.0, 0.5]], dtype=w.dtype).to_sparse_coo(), w
    )


def scaled(run: Any) -> Callable[..., Tensor]:
    return lambda bias, a, b: run(bias, a, b, beta=0.6, alpha=-1.4)


ROWS = [
    Row("aten.mm.default", torch.mm, [normal(3, 4), normal(4, 2)]),
    Row("aten.mm.default", torch.mm, [normal(5, 4), normal(4, 2)], "of weights", sampled=()),
    Row("aten.mm.default", lambda x, w: torch.mm(w, x.t()).t(), [normal(3, 4), normal(5, 4)], "samples in columns"),
    Row("aten.mm.default", lambda x, w: F.linear(x, w), [normal(3, 5, 4), normal(2, 4)], "tokens, no bias"),
    Row("aten._sparse_addmm.default", by_sparse, [normal(4, 2)], sampled=()),
    Row("aten.bmm.default", torch.bmm, [normal(3, 2, 4), normal(3, 4, 5)], sampled=(0, 1)),
    Row("aten.bmm.default", torch.matmul, [normal(3, 2, 5, 4), normal(3, 2, 4, 5)], "heads", sampled=(0, 1)),
    Row("aten.bmm.default", einsum("bij,bjk->bik"), [normal(3, 2, 4), normal(3, 4, 5)], "einsum", sampled=(0, 1)),
    Row("aten.bmm.default", einsum("bi,ij,bj->b"), [normal(3, 4), normal(4, 5), normal(3, 5)], "form", sampled=(0, 2)),
    Row("aten.mv.default", torch.mv, [normal(3, 4), normal(4)]),
    Row("aten.mv.default", torch.mv, [normal(5, 4), normal(4)], "of weights", sampled=()),
    Row("aten.dot.default", torch.dot, [normal(4), normal(4)], "of weights", sampled=()),
    Row("aten.addmm.default", lambda x, w, b: F.linear(x, w, b), [normal(3, 4), normal(5, 4), normal(5)], "linear"),
    Row("aten.addmm.default", lambda x, w, b: F.linear(x, w, b), [normal(3, 2, 4), normal(5, 4), normal(5)], "tokens"),
    Row("aten.addmm.default", scaled(torch.addmm), [normal(3, 5), normal(3, 4), normal(4, 5)], sampled=(0, 1)),
    Row(
        "aten.baddbmm.default",
        scaled(torch.baddbmm),
        [normal(3, 2, 5), normal(3, 2, 4), normal(3, 4, 5)],
        sampled=(0, 1, 2),
    ),
    Row("aten.addmv.default", scaled(torch.addmv), [normal(3), normal(3, 4), normal(4)], sampled=(0, 1)),
    conv(1, "", normal(3, 2, 7), normal(4, 2, 3)),
    conv(1, "stride, padding", normal(3, 2, 7), normal(4, 2, 3), stride=2, padding=1, bias=True),
    conv(1, "dilation, groups", normal(3, 4, 9), normal(6, 2, 3), dilation=2, groups=2, bias=True),
    conv(1, "padding same", normal(3, 2, 7), normal(4, 2, 3), padding="same"),
    conv(1, "output padding", normal(3, 2, 5), normal(2, 4, 3), transposed=True, stride=2, output_padding=1, bias=True),
    conv(2, "", normal(3, 2, 5, 6), normal(4, 2, 3, 2), bias=True),
    conv(2, "uneven", normal(3, 2, 7, 6), normal(4, 2, 3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    conv(2, "depthwise", normal(3, 4, 5, 5), normal(8, 1, 3, 3), groups=4, padding=1, bias=True),
    conv(2, "1x1", normal(3, 2, 4, 4), normal(5, 2, 1, 1)),
    conv(2, "groups", normal(3, 4, 4, 4), normal(4, 3, 2, 2), transposed=True, groups=2, bias=True),
    conv(2, "dilation", normal(3, 2, 3, 4), normal(2, 3, 2, 2), transposed=True, dilation=2, padding=1, stride=2),
    conv(3, "", normal(3, 2, 4, 4, 3), normal(2, 2, 2, 2, 2), bias=True),
    conv(3, "stride, padding", normal(3, 2, 4, 4, 3), normal(4, 1, 2, 2, 2), stride=2, padding=1, groups=2),
    conv(3, "stride", normal(3, 2, 2, 3, 2), normal(2, 2, 2, 2, 2), transposed=True, stride=2, output_padding=1),
]
