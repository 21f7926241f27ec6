"""Softmax and scaled dot-product attention, one rule for every kernel.

Attention keeps no probability matrix: P = softmax(Q Kᵀ·scale + mask) is made again from Q and K, for a block of
queries at a time, so no T×T tensor outlives a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge, through_broadcast
from curvestep.engine.rules.axes import BATCHED, kept_unless
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add

QUERY_BLOCK_ELEMENTS = 1 << 22  # probabilities made at once: 16 MiB in float32

# -- softmax --------------------------------------------------------------------------------------------------------


def softmax_tangents(
    p: Tensor, dx: Tensor | None, ddx: Tensor | None, dim: int, first_only: bool = False
) -> tuple[Tensor | None, Tensor | None]:
    """Tangents of p = softmax(x): ṗ = p a with a = ẋ − Σpẋ; p̈ = p (a² − Σp a²) + p (ẍ − Σpẍ)."""
    dp: Tensor | None = None
    second: Tensor | None = None
    if dx is not None:
        a = dx - torch.linalg.vecdot(p, dx, dim=dim).unsqueeze(dim)
        dp = p * a
        second = None if first_only else _pulled(a * a, p, dim)
    if ddx is not None:
        second = add(second, _pulled(ddx, p, dim))
    return dp, second


def _pulled(t: Tensor, p: Tensor, dim: int) -> Tensor:
    """p (t − Σpt), in one kernel."""
    return aten._softmax_backward_data.default(t, p, dim, p.dtype)


def _softmax(s: Site) -> Jet:
    return softmax_tangents(s.y(), s.d(0), s.dd(0), s.arg(1), s.first_only)


def _log_softmax(s: Site) -> Jet:
    # y = x − logsumexp(x): ẏ = ẋ − Σpẋ, ÿ = ẍ − Σpẍ − (Σpẋ² − (Σpẋ)²)
    dx, ddx, dim = s.d(0), s.dd(0), s.arg(1)
    p = torch.exp(s.y())
    dy: Tensor | None = None
    second: Tensor | None = None
    if dx is not None:
        dy = dx - (p * dx).sum(dim, keepdim=True)
        second = -(p * dy * dy).sum(dim, keepdim=True)
    if ddx is not None:
        second = add(second, ddx - (p * ddx).sum(dim, keepdim=True))
    return dy, second


for _op, _propagate in (
    (aten._softmax.default, _softmax),
    (aten._safe_softmax.default, _softmax),
    (aten._log_softmax.default, _log_softmax),
):
    op(_op, Rule(Kind.NONLINEAR, _propagate, kept_unless(lambda s: [s.arg(1)]), keep_outputs=(0,)))


# -- scaled dot-product attention -----------------------------------------------------------------------------------


def _blocks(queries: int, per_query: int) -> Iterator[slice]:
    step = max(1, QUERY_BLOCK_ELEMENTS // max(per_query, 1))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def attention_jet(s: Site, mask: Tensor | None, causal: bool, scale: float | None) -> Jet:
    """Jets of O = softmax(scale·Q Kᵀ + mask) V; key and value heads are repeated where queries have more."""
    shape, other = s.x(0).shape, s.x(1).shape
    lead, length, keys = shape[:-2], shape[-2], other[-2]
    repeat = shape[-3] // other[-3] if len(shape) > 2 else 1
    factor = 1 / math.sqrt(shape[-1]) if scale is None else scale

    def flat(t: Tensor | None, times: float = 1.0) -> Tensor | None:
        """All heads of all samples along one axis, one after the other in memory: batched products copy else."""
        if t is None:
            return None
        t = t if t.shape[:-2] == lead or repeat == 1 else t.repeat_interleave(repeat, dim=-3)
        own = t.reshape(-1, *t.shape[-2:]).contiguous()
        return own if times == 1.0 else own * times

    q, k, v = flat(s.x(0), factor), flat(s.x(1)), flat(s.x(2))
    assert q is not None and k is not None and v is not None
    dq, dk, dv = flat(s.d(0), factor), flat(s.d(1)), flat(s.d(2))
    ddq, ddk, ddv = flat(s.dd(0), factor), flat(s.dd(1)), flat(s.dd(2))

    def turned(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.transpose(1, 2)

    kt, dkt, ddkt = turned(k), turned(dk), turned(ddk)
    firsts: list[Tensor | None] = []
    seconds: list[Tensor | None] = []
    for rows in _blocks(length, keys * math.prod(lead)):
        qb, dqb, ddqb = (None if t is None else t[:, rows] for t in (q, dq, ddq))
        assert qb is not None and kt is not None
        logits = torch.baddbmm(_later(rows, keys, qb), qb, kt) if causal else torch.bmm(qb, kt)
        p = _probabilities(logits.view(*lead, -1, keys), mask, rows).view(logits.shape)
        ds = plus_product(plus_product(None, dqb, kt), qb, dkt)
        cross = None if s.first_only else plus_product(None, dqb, dkt, 2.0)
        dds = plus_product(plus_product(cross, ddqb, kt), qb, ddkt)
        dp: Tensor | None = None
        ddp: Tensor | None = None
        if ds is not None:
            centre = torch.linalg.vecdot(p, ds).unsqueeze(-1)
            a = ds - centre if s.watched else ds.sub_(centre)
            dp = p * a
            if not s.first_only:
                dds = a.square_() if dds is None else dds.addcmul_(a, a)
        if dds is not None:
            ddp = _pulled(dds, p, -1)
        firsts.append(plus_product(plus_product(None, dp, v), p, dv))
        cross = None if s.first_only else plus_product(None, dp, dv, 2.0)
        seconds.append(plus_product(plus_product(cross, ddp, v), p, ddv))

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        held = [p for p in parts if p is not None]
        if len(held) < len(parts) or not held:
            return None
        whole = held[0] if len(held) == 1 else torch.cat(held, 1)
        return whole.view(*lead, length, -1)

    return joined(firsts), joined(seconds)


def plus_product(total: Tensor | None, a: Tensor | None, b: Tensor | None, times: float = 1.0) -> Tensor | None:
    """Total + times · a b for batches of matrices, written into the total; None is zero."""
    if a is None or b is None:
        return total
    if total is not None:
        return total.baddbmm_(a, b, alpha=times)
    return torch.bmm(a, b) if times == 1.0 else torch.baddbmm(a.new_zeros(()), a, b, beta=0, alpha=times)


def _later(rows: slice, keys: int, like: Tensor) -> Tensor:
    """What hides from each query of a block the keys behind it: −∞ there and 0 elsewhere."""
    hidden = like.new_full((rows.stop - rows.start, keys), -math.inf)
    return hidden.triu_(rows.start + 1)


def _probabilities(logits: Tensor, mask: Tensor | None, rows: slice) -> Tensor:
    """Softmax of logits, which may be overwritten, for a block of queries."""
    if mask is None:
        return torch.softmax(logits, -1)
    part = mask[..., rows, :] if mask.shape[-2] != 1 else mask
    logits = logits.masked_fill_(~part, -math.inf) if part.dtype == torch.bool else logits.add_(part)
    # a query to which every key is hidden gets nothing, as from the kernels
    blind = logits.detach().amax(-1, keepdim=True) == -math.inf
    return torch.softmax(logits.masked_fill_(blind, 0.0), -1).masked_fill(blind, 0.0)


def _refuse_dropout(s: Site, probability: float) -> None:
    if probability:
        raise MissingRuleError(
            f"{s.node.name} was run with dropout_p={probability} inside its kernel, which does not return its mask; "
            "run attention with the MATH backend (torch.nn.attention.sdpa_kernel) or with dropout_p=0."
        )


def _cpu_flash(s: Site) -> list[Jet]:
    _refuse_dropout(s, s.option(3, "dropout_p", 0.0))
    jet = attention_jet(s, _mask(s, s.option(5, "attn_mask")), s.option(4, "is_causal", False), s.option(6, "scale"))
    return [jet, (None, None)]


def _flash(s: Site) -> list[Jet]:
    _refuse_dropout(s, s.option(3, "dropout_p", 0.0))
    jet = attention_jet(s, None, s.option(4, "is_causal", False), s.option(6, "scale"))
    return [jet, *[(None, None)] * (len(s.node.outputs) - 1)]


def _biased(s: Site) -> list[Jet]:
    # _efficient_ and _cudnn_: (q, k, v, bias, compute_log_sumexp, dropout_p, is_causal, …)
    _refuse_dropout(s, s.option(5, "dropout_p", 0.0))
    jet = attention_jet(s, _mask(s, s.arg(3)), s.option(6, "is_causal", False), s.node.kwargs.get("scale"))
    return [jet, *[(None, None)] * (len(s.node.outputs) - 1)]


def _mask(s: Site, value: Any) -> Tensor | None:
    if value is None:
        return None
    if value.needs_grad:
        raise MissingRuleError(
            f"{s.node.name} was given a mask that carries a gradient; run attention with the MATH backend "
            "(torch.nn.attention.sdpa_kernel), which records it as separate operations."
        )
    return s.data(value)


def _attention_axis(s: AxisSite) -> list[Annotation]:
    """Samples among the leading axes of any argument, masks included, which are aligned at the last axis."""
    out = s.out_shape()
    known = merge([through_broadcast(s.of(v), v.shape, out) for v in s.node.inputs])
    if isinstance(known, SampleAxis) and known.dim >= len(out) - 2:
        known = Marker.LOST
    return [known] + [Marker.LOST] * (len(s.node.outputs) - 1)


for _name, _attention in (
    ("_scaled_dot_product_flash_attention_for_cpu", _cpu_flash),
    ("_scaled_dot_product_flash_attention", _flash),
    ("_scaled_dot_product_efficient_attention", _biased),
    ("_scaled_dot_product_cudnn_attention", _biased),
):
    op(
        getattr(aten, _name).default,
        Rule(Kind.NONLINEAR, _attention, _attention_axis, keep_inputs=(0, 1, 2)),
        dtype="product",
        attends=True,
        cut=BATCHED,
    )
