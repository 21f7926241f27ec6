"""Sums, means and norms over axes; a sum over the samples becomes a `Spread`, so that it can still be split."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Reduction, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules.axes import kept_unless
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site, Spread
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul


def dims_of(argument: Any, rank: int) -> list[int]:
    """Reduced axes as a list of non-negative numbers; none given means all."""
    if argument is None or (isinstance(argument, (list, tuple)) and not argument):
        return list(range(rank))
    if isinstance(argument, int):
        argument = [argument]
    return [d % max(rank, 1) for d in argument]


def reduced_axis(s: AxisSite, dims: list[int], keepdim: bool, onto: Marker) -> Annotation:
    """The annotation after a reduction over `dims`; `onto` is what a reduction of the samples leaves."""
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known if known is not Marker.SUMMED or onto is Marker.SUMMED else onto
    if known.dim in dims:
        return onto
    return known if keepdim else known.at(known.dim - sum(d < known.dim for d in dims))


def summed_axis(s: AxisSite) -> Annotation:
    """After `sum(dim, keepdim)`."""
    return reduced_axis(s, dims_of(s.arg(1), len(s.shape(0))), s.arg(2, False), Marker.SUMMED)


def pooled_axis(s: AxisSite) -> Annotation:
    """After a statistic of the arguments (dim, keepdim) that is no sum."""
    return reduced_axis(s, dims_of(s.arg(1), len(s.shape(0))), s.arg(2, False), Marker.POOLED)


def _total(mean: bool) -> Rule:
    """`sum()` and `mean()` of everything."""

    def jet(s: Site) -> Jet:
        dx, ddx = s.d(0), s.dd(0)
        value = s.arg(0)
        scale = 1 / max(math.prod(value.shape), 1) if mean else 1.0
        first = None if dx is None else dx.expand(value.shape).sum() * scale
        return first, None if ddx is None else Spread(ddx.expand(value.shape) * scale, 0)

    return Rule(Kind.LINEAR, jet, lambda s: reduced_axis(s, list(range(len(s.shape(0)))), False, Marker.SUMMED))


op(aten.sum.default, _total(mean=False), reduces=Reduction("sum"))
op(aten.mean.default, _total(mean=True), reduces=Reduction("mean"))


def _along() -> Rule:
    """`sum(dim)` and `mean(dim)`."""

    def jet(s: Site) -> Jet:
        dims, keep = s.arg(1), s.arg(2, False)

        return s.through(lambda t: s.op(t, dims, keep))

    return Rule(Kind.LINEAR, jet, summed_axis)


op(aten.sum.dim_IntList, _along(), reduces=Reduction("sum"))
op(aten.mean.dim, _along(), reduces=Reduction("mean"))


# -- variance and standard deviation ------------------------------------------------------------------


def _variance(s: Site, root: bool) -> Jet:
    x, axes = s.x(0), dims_of(s.arg(1), s.x(0).dim())
    correction = s.node.kwargs.get("correction", 1)
    keep = s.node.kwargs.get("keepdim", False)
    count = math.prod(x.shape[a] for a in axes)
    scale = 1 / max(count - (1 if correction is None else correction), 0) if count else 1.0
    u = x - x.mean(axes, keepdim=True)

    def centred(t: Tensor | None) -> Tensor | None:
        return None if t is None else t - t.mean(axes, keepdim=True)

    du, ddu = centred(s.d(0)), centred(s.dd(0))

    def total(t: Tensor | None) -> Tensor | None:
        return None if t is None else scale * t.sum(axes, keepdim=True)

    def product(a: Tensor, b: Tensor | None) -> Tensor | None:
        return None if b is None else (a.conj() * b).real if a.is_complex() else a * b

    dv = mul(2.0, total(product(u, du)))
    ddv = add(None if du is None else mul(2.0, total(product(du, du))), mul(2.0, total(product(u, ddu))))
    if root:
        v = total(product(u, u))
        assert v is not None
        still = v == 0  # a kink, at which autograd's derivative is 0
        y = torch.where(still, 1.0, v).sqrt()
        dv = None if dv is None else dv / (2 * y)
        ddv = add(None if ddv is None else ddv / (2 * y), None if dv is None else -dv * dv / y)
        ddv = None if ddv is None else torch.where(still, 0.0, ddv)

    def shaped(t: Tensor | None) -> Tensor | None:
        return t if t is None or keep else t.squeeze(axes)

    return shaped(dv), shaped(ddv)


def _variance_axis(s: AxisSite) -> Annotation:
    keep = s.node.kwargs.get("keepdim", False)
    return reduced_axis(s, dims_of(s.arg(1), len(s.shape(0))), keep, Marker.POOLED)


op(aten.var.correction, Rule(Kind.NONLINEAR, lambda s: _variance(s, False), _variance_axis, keep_inputs=(0,)))
op(aten.std.correction, Rule(Kind.NONLINEAR, lambda s: _variance(s, True), _variance_axis, keep_inputs=(0,)))


def _logsumexp(s: Site) -> Jet:
    x, axes, keep = s.x(0), dims_of(s.arg(1), s.x(0).dim()), s.arg(2, False)
    y = s.y() if keep else torch.logsumexp(x, axes, keepdim=True)
    p = torch.exp(x - y)
    dx, ddx = s.d(0), s.dd(0)

    def mean(t: Tensor | None) -> Tensor | None:
        return None if t is None else (p * t).sum(axes, keepdim=True)

    dy = mean(dx)
    spread = None if dx is None or dy is None else mean((dx - dy).square())
    second = add(mean(ddx), spread)

    def shaped(t: Tensor | None) -> Tensor | None:
        return t if t is None or keep else t.squeeze(axes)

    return shaped(dy), shaped(second)


op(aten.logsumexp.default, Rule(Kind.NONLINEAR, _logsumexp, pooled_axis, keep_inputs=(0,), keep_outputs=(0,)))


# -- maxima: linear once the position is known ------------------------------------------------------------------------


def _picked(s: Site) -> list[Jet]:
    dim, keep = s.arg(1), s.arg(2, False)
    index = s.y(1) if keep else s.y(1).unsqueeze(dim)

    def pick(t: Tensor) -> Tensor:
        out = t.gather(dim, index)
        return out if keep else out.squeeze(dim)

    return [s.through(pick), (None, None)]


op(aten.max.dim, Rule(Kind.LINEAR, _picked, pooled_axis, keep_outputs=(1,)), kinks=True)
op(aten.min.dim, Rule(Kind.LINEAR, _picked, pooled_axis, keep_outputs=(1,)), kinks=True)


# -- running sums -----------------------------------------------------------------------------------------------------


op(
    aten.cumsum.default,
    Rule(Kind.LINEAR, lambda s: s.through(lambda t: t.cumsum(s.arg(1))), kept_unless(lambda s: [s.arg(1)])),
)
