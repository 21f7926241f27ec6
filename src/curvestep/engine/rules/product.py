"""Products of two or three tensors beyond matrix multiplication: outer, cross, trilinear, batched with a sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules.axes import elementwise_axis, unnamed
from curvestep.engine.rules.forms import multilinear
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.shape import joined
from curvestep.engine.rules.site import AxisSite, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import mul


def _pooled_if_sampled(s: AxisSite) -> Annotation:
    """A product that contracts everything: a statistic of the batch."""
    known = unnamed(s)
    return Marker.POOLED if known is Marker.LOST else known


op(aten.vdot.default, multilinear((0, 1), _pooled_if_sampled))


def _plus_self(run: Any, axis: Callable[[AxisSite], Annotation]) -> Rule:
    """y = β·x + α·product(a, b)."""

    def product(x: Any, a: Tensor, b: Tensor, **options: Any) -> Tensor:
        options["beta"] = 0
        return run(torch.zeros((), dtype=a.dtype, device=a.device).expand(shape_of(a, b)), a, b, **options)

    def shape_of(a: Tensor, b: Tensor) -> tuple[int, ...]:
        return (a.shape[0], b.shape[0]) if a.dim() == 1 else (a.shape[-2], b.shape[-1])

    def own(s: Site, tangent: Callable[[Any], Tensor | None]) -> Tensor | None:
        value = s.node.outputs[0]
        t = tangent(s.arg(0))
        return None if t is None or value is None else mul(s.node.kwargs.get("beta", 1), t).expand(value.shape)

    return multilinear((1, 2), axis, product, own)


op(aten.addbmm.default, _plus_self(aten.addbmm.default, unnamed))
op(aten.addr.default, _plus_self(aten.addr.default, unnamed))


def _cross_axis(s: AxisSite) -> Annotation:
    known = elementwise_axis(s)
    return (
        Marker.LOST
        if isinstance(known, SampleAxis) and known.dim == s.node.kwargs.get("dim", -1) % len(s.out_shape())
        else known
    )


op(aten.linalg_cross.default, multilinear((0, 1), _cross_axis))


def _trilinear_axis(s: AxisSite) -> Annotation:
    """Arguments are expanded at the listed axes, multiplied, and summed over others."""
    rank = len(s.shape(0)) + len(s.arg(3))
    summed = sorted(d % rank for d in s.arg(6))
    found: list[SampleAxis] = []
    for i in (0, 1, 2):
        known = s.at(i)
        if known is Marker.LOST:
            return Marker.LOST
        if isinstance(known, SampleAxis):
            free = [d for d in range(rank) if d not in {e % rank for e in s.arg(3 + i)}]
            found.append(known.at(free[known.dim]))
    if not found:
        return unnamed(s)
    first = found[0]
    if any(f != first for f in found):
        return Marker.LOST
    if first.dim in summed:
        return Marker.POOLED
    return first.at(first.dim - sum(d < first.dim for d in summed))


op(aten._trilinear.default, multilinear((0, 1, 2), _trilinear_axis))


def _time_bias(s: Site, tangent: Callable[[Any], Tensor | None]) -> Tensor | None:
    value = s.node.outputs[0]
    t = tangent(s.arg(2))
    return None if t is None or value is None else t.expand(value.shape)


def _time_convolution(x: Tensor, w: Tensor, bias: Any, pad: int = 0) -> Tensor:
    return aten.conv_tbc.default(x, w, w.new_zeros(w.shape[-1]), pad)


op(
    aten.conv_tbc.default,
    multilinear(
        (0, 1),
        lambda s: s.at(0) if s.at(1) is Marker.SHARED and s.at(0) in (SampleAxis(1), Marker.SHARED) else Marker.LOST,
        _time_convolution,
        _time_bias,
    ),
)


# -- blocks along the diagonal: linear in the list -------------------------------------------------------------------


op(aten.block_diag.default, Rule(Kind.LINEAR, lambda s: joined(s, lambda ts: torch.block_diag(*ts)), unnamed))
