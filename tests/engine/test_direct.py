"""Rules whose operation no eager call on a CPU dispatches, on nodes made by hand; and that every rule is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from curvestep._errors import MissingRuleError
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.jets import jets_of
from curvestep.engine.rules import alias, recurrent, site, table
from tests.engine.by_hand import BY_HAND
from tests.engine.direct import Direct, worst_jet_error
from tests.engine.ops import ROWS
from tests.engine.ops.row import fixed, normal

aten = torch.ops.aten


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float | None = None) -> Tensor:
    """The formula: softmax of scaled products, key and value heads repeated where there are fewer."""
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    logits = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        logits = logits.masked_fill(~bias, -torch.inf) if bias.dtype == torch.bool else logits + bias
    if causal:
        logits = logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1).bool(), -torch.inf)
    return torch.softmax(logits, -1) @ v


def flash(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, causal: bool = False, debug: bool = False) -> Tensor:
    return attention(q, k, v, None, causal)


def efficient(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, logsumexp: bool, dropout: float = 0.0, causal: bool = False
) -> Tensor:
    return attention(q, k, v, bias, causal)


def places(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Tensor:
    """The flat positions of a geometry."""
    axes = [torch.arange(n) * step for n, step in zip(size, stride, strict=True)]
    return torch.cartesian_prod(*axes).reshape(-1, len(size)).sum(1) + offset


def written(old: Tensor, new: Tensor, target: Any, source: Any) -> Tensor:
    """The tape's own operation as a formula: both tensors are views of one storage of eight numbers."""
    into, held = places(*target), old.new_zeros(8)
    held = held.scatter(0, into, old.flatten()).scatter(0, places(*source), new.flatten())
    return held[into].reshape(target[0])


QKV = [normal(2, 4, 5, 3), normal(2, 2, 6, 3), normal(2, 2, 6, 3)]
SELF = [normal(2, 2, 5, 3)] * 3
MASK = torch.tensor([[True, False, True, True, False, True]]).expand(5, 6)

DIRECT = [
    Direct(aten._scaled_dot_product_flash_attention.default, flash, [*QKV, 0.0, False], "grouped queries"),
    Direct(aten._scaled_dot_product_flash_attention.default, flash, [*SELF, 0.0, True], "causal"),
    Direct(
        aten._scaled_dot_product_flash_attention.default,
        lambda q, k, v, *rest: attention(q, k, v, None, False, 0.7),
        [*SELF, 0.0, False, False],
        "scale",
        {"scale": 0.7},
    ),
    Direct(aten._scaled_dot_product_efficient_attention.default, efficient, [*QKV, None, True], "no bias"),
    Direct(
        aten._scaled_dot_product_efficient_attention.default,
        efficient,
        [*QKV, fixed(normal(5, 6)), True, 0.0, False],
        "bias",
    ),
    Direct(aten._scaled_dot_product_cudnn_attention.default, efficient, [*SELF, None, True, 0.0, True], "causal"),
    Direct(aten._scaled_dot_product_cudnn_attention.default, efficient, [*QKV, MASK, True, 0.0, False], "bool mask"),
    Direct(aten.matmul.default, torch.matmul, [normal(3, 4), normal(4, 2)]),
    Direct(aten.matmul.default, torch.matmul, [normal(2, 3, 4), normal(4)], "matrices and a vector"),
    Direct(aten.matmul.default, torch.matmul, [normal(5, 1, 3, 4), normal(2, 4, 3)], "broadcast"),
    Direct(aten.linear.default, F.linear, [normal(3, 4), normal(2, 4), normal(2)]),
    Direct(aten.linear.default, F.linear, [normal(3, 5, 4), normal(2, 4)], "no bias"),
    Direct(aten.copy.default, lambda into, x: x.expand(into.shape) * 1.0, [normal(3, 4), normal(4)]),
    Direct(aten.reshape.default, torch.reshape, [normal(3, 4), [2, -1]]),
    Direct(aten._reshape_alias.default, lambda x, s, st: x.reshape(s), [normal(3, 4), [2, 6], [6, 1]]),
    Direct(aten.flatten.using_ints, torch.flatten, [normal(3, 2, 4), 1, -1]),
    Direct(aten.contiguous.default, lambda x: x * 1.0, [normal(3, 4)]),
    Direct(aten.lift_fresh.default, lambda x: x * 1.0, [normal(3, 4)]),
    Direct(aten.lift_fresh_copy.default, lambda x: x * 1.0, [normal(3, 4)]),
    Direct(aten.narrow.default, torch.narrow, [normal(3, 4), 1, 1, 2]),
    Direct(aten.avg_pool1d.default, F.avg_pool1d, [normal(3, 2, 6), [3], [2], [1]]),
    Direct(aten.adaptive_avg_pool1d.default, F.adaptive_avg_pool1d, [normal(3, 2, 5), [2]]),
    Direct(alias.ALIAS_UPDATE, written, [normal(2, 4), normal(2, 2), ((2, 4), (4, 1), 0), ((2, 2), (4, 1), 1)], "cut"),
    Direct(alias.ALIAS_UPDATE, written, [normal(2, 2), normal(8), ((2, 2), (4, 2), 1), ((8,), (1,), 0)], "all of it"),
    *BY_HAND,
]


@pytest.mark.parametrize("row", DIRECT, ids=lambda row: row.name)
def test_jets(row: Direct) -> None:
    # both sides are float64 sums of at most some hundred products of numbers of order one
    assert worst_jet_error(row) <= 1e-12


def test_a_wrong_formula_is_seen() -> None:
    row = Direct(aten.linear.default, lambda x, w: F.linear(x, w) * 1.001, [normal(3, 4), normal(2, 4)])
    assert worst_jet_error(row) > 1e-4


def test_every_rule_has_a_row() -> None:
    tested = {row.op for row in ROWS} | {str(row.op) for row in DIRECT}
    missing = sorted({str(op) for op in table.RULES} - tested - set(recurrent.REFUSED))
    assert not missing, f"No row in tests/engine/ops (or here) is about {', '.join(missing)}."


def test_every_row_is_about_a_rule() -> None:
    unknown = sorted({row.op for row in ROWS} - {str(op) for op in table.RULES})
    assert not unknown, f"Rows name operations that have no rule: {', '.join(unknown)}."


@pytest.mark.parametrize("op", sorted(recurrent.REFUSED))
def test_a_kernel_without_gates_is_refused_with_what_to_do(op: str) -> None:
    rule = next(rule for known, rule in table.RULES.items() if str(known) == op)
    value = Value((), torch.float64, None, 0)
    node = Node(op, rule, (value,), {}, (value,), (None,), True, False)
    with pytest.raises(MissingRuleError, match=f"{op}.*Run "):
        jets_of(rule, site.Site(node, {}, {}))
