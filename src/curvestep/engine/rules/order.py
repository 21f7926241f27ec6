"""Extremes, order statistics and sorting: linear once it is known which elements were taken."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Reduction, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules.choice import constant
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.reduce import dims_of, pooled_axis, reduced_axis, summed_axis
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import RULES, op

# -- extremes without an index: elements that tie share the derivative, as in autograd -------------------------------


def _shared_by_ties(x: Tensor, y: Tensor, dims: list[int]) -> Tensor:
    """The weight of each element in the extreme y of x along `dims` (y with these axes kept)."""
    hit = (x == y).to(x.dtype)
    return hit / hit.sum(dims, keepdim=True) if dims else hit


def _weighted_jet(s: Site, y: Tensor, dims: list[int], keepdim: bool) -> Jet:
    weight = _shared_by_ties(s.x(0).detach(), y.detach(), dims)

    return s.through(lambda t: (weight * t).sum(dims, keepdim=keepdim) if dims else t)


def _extreme(s: Site) -> Jet:
    dims, keep = dims_of(s.arg(1), s.x(0).dim()), s.arg(2, False)
    y = s.y() if keep else s.y().reshape([1 if i in dims else n for i, n in enumerate(s.x(0).shape)])
    return _weighted_jet(s, y, dims, keep)


def _of_all(s: Site) -> Jet:
    dims = list(range(s.x(0).dim()))
    return _weighted_jet(s, s.y(), dims, False)


def _of_all_axis(s: AxisSite) -> Annotation:
    return reduced_axis(s, dims_of(None, len(s.shape(0))), False, Marker.POOLED)


for _op in (aten.amax.default, aten.amin.default):
    op(_op, Rule(Kind.LINEAR, _extreme, pooled_axis, keep_inputs=(0,), keep_outputs=(0,)), kinks=True)
for _op in (aten.max.default, aten.min.default, aten.median.default, aten.nanmedian.default):
    op(_op, Rule(Kind.LINEAR, _of_all, _of_all_axis, keep_inputs=(0,), keep_outputs=(0,)), kinks=True)


def _both_extremes(s: Site) -> list[Jet]:
    dim, keep = s.node.kwargs.get("dim"), s.node.kwargs.get("keepdim", False)
    dims = dims_of(dim, s.x(0).dim())
    shape = [1 if i in dims else n for i, n in enumerate(s.x(0).shape)]
    return [_weighted_jet(s, s.y(i).reshape(shape), dims, keep) for i in (0, 1)]


def _both_axis(s: AxisSite) -> list[Annotation]:
    dims = dims_of(s.node.kwargs.get("dim"), len(s.shape(0)))
    return [reduced_axis(s, dims, s.node.kwargs.get("keepdim", False), Marker.POOLED)] * 2


op(
    aten.aminmax.default,
    Rule(Kind.LINEAR, _both_extremes, _both_axis, keep_inputs=(0,), keep_outputs=(0, 1)),
    kinks=True,
)


# -- one element along an axis, with its index -----------------------------------------------------------------------


def _picked(dim_at: int, keep_at: int) -> Rule:
    """(values, indices) of an operation that takes one element along an axis."""

    def jet(s: Site) -> list[Jet]:
        dim, keep = s.option(dim_at, "dim", -1), s.option(keep_at, "keepdim", False)
        index = s.y(1) if keep or not s.arg(0).shape else s.y(1).unsqueeze(dim)

        def pick(t: Tensor | None) -> Tensor | None:
            if t is None or t.dim() == 0:
                return t
            out = t.gather(dim, index)
            return out if keep else out.squeeze(dim)

        return [(pick(s.d(0)), pick(s.dd(0))), (None, None)]

    def axis(s: AxisSite) -> list[Annotation]:
        dims = dims_of(s.option(dim_at, "dim", -1), len(s.shape(0)))
        return [reduced_axis(s, dims, s.option(keep_at, "keepdim", False), Marker.POOLED)] * 2

    return Rule(Kind.LINEAR, jet, axis, keep_outputs=(1,))


op(aten.median.dim, _picked(1, 2), kinks=True)
op(aten.nanmedian.dim, _picked(1, 2), kinks=True)
op(aten.mode.default, _picked(1, 2), kinks=True)
op(aten.kthvalue.default, _picked(2, 3), kinks=True)


def _reordered(dim_at: int) -> Rule:
    """(values, indices) of an operation that keeps the rank: sorting, the k largest, running extremes."""

    def jet(s: Site) -> list[Jet]:
        dim, index = s.option(dim_at, "dim", -1), s.y(1)

        def pick(t: Tensor | None) -> Tensor | None:
            return t if t is None or t.dim() == 0 else t.gather(dim, index)

        return [(pick(s.d(0)), pick(s.dd(0))), (None, None)]

    def axis(s: AxisSite) -> list[Annotation]:
        known, along = s.at(0), s.option(dim_at, "dim", -1) % max(len(s.shape(0)), 1)
        lost = isinstance(known, SampleAxis) and known.dim == along
        return [Marker.LOST if lost else known] * 2

    return Rule(Kind.LINEAR, jet, axis, keep_outputs=(1,))


op(aten.sort.default, _reordered(1), kinks=True)
op(aten.sort.stable, _reordered(2), kinks=True)
op(aten.topk.default, _reordered(2), kinks=True)
op(aten.cummax.default, _reordered(1), kinks=True)
op(aten.cummin.default, _reordered(1), kinks=True)


# -- sums that skip NaN ----------------------------------------------------------------------------------------------


def _nan_sum(s: Site) -> Jet:
    present = (~torch.isnan(s.x(0))).to(s.x(0).dtype)
    dims, keep = s.arg(1), s.arg(2, False)

    def total(t: Tensor | None) -> Tensor | None:
        return (
            None if t is None else (present * t).sum(dims_of(dims, t.dim()), keepdim=keep) if t.dim() else present * t
        )

    return total(s.d(0)), total(s.dd(0))


op(aten.nansum.default, Rule(Kind.LINEAR, _nan_sum, summed_axis, keep_inputs=(0,)), reduces=Reduction("sum"))


# -- mean beside variance or standard deviation ----------------------------------------------------------------------


def _with_mean(single: Rule) -> Rule:
    """(variance or deviation, mean), the first by the rule of the operation that returns it alone."""

    def jet(s: Site) -> list[Jet]:
        dims, keep = dims_of(s.arg(1), len(s.arg(0).shape)), s.node.kwargs.get("keepdim", False)
        assert single.propagate is not None
        first: Any = single.propagate(s)

        def mean(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.expand(s.arg(0).shape).mean(dims, keepdim=keep)

        return [first, (mean(s.d(0)), mean(s.dd(0)))]

    def axis(s: AxisSite) -> list[Annotation]:
        spread: Any = single.axis(s)
        keep = s.node.kwargs.get("keepdim", False)
        return [spread, reduced_axis(s, dims_of(s.arg(1), len(s.shape(0))), keep, Marker.SUMMED)]

    return Rule(Kind.NONLINEAR, jet, axis, keep_inputs=(0,))


op(aten.var_mean.correction, _with_mean(RULES[aten.var.correction]))
op(aten.std_mean.correction, _with_mean(RULES[aten.std.correction]))


# -- positions and truth values: constant, but samples keep their axis through them ----------------------------------


for _op in (aten.any.dim, aten.all.dim, aten.argmax.default, aten.argmin.default):
    op(_op, Rule(Kind.CONSTANT, constant, pooled_axis))
