"""Matrix products: bilinear in their two factors, so ÿ has the cross term 2 V ẋ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, accumulate, mul, register
from curvestep.engine.samples import Annotation, Marker, SampleAxis

aten = torch.ops.aten

Tangents = tuple["Tensor | None", "Tensor | None"]


def product_jet(site: Site, left: int, right: int, product: Callable[[Tensor, Tensor], Tensor]) -> Tangents:
    """Jets of a bilinear product of two arguments."""

    def times(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else product(a, b)

    da, db, dda, ddb = site.d(left), site.d(right), site.dd(left), site.dd(right)
    a = site.x(left) if db is not None or ddb is not None else None
    b = site.x(right) if da is not None or dda is not None else None
    cross = None if site.first_only else times(da, db)
    if cross is not None:
        cross.mul_(2.0)
    return accumulate(times(da, b), times(a, db)), accumulate(cross, times(dda, b), times(a, ddb))


def matrix_axis(site: AxisSite, left: int, right: int) -> Annotation:
    """Rows come from the left factor, columns from the right, leading axes from both; a contracted axis is pooled."""
    a, b = site.at(left), site.at(right)
    rank = len(site.out_shape())
    left_rank, right_rank = len(site.shape(left)), len(site.shape(right))
    found: list[Annotation] = []
    if isinstance(a, SampleAxis):
        if left_rank == 1 or a.dim == left_rank - 1:
            return Marker.POOLED
        found.append(a)
    if isinstance(b, SampleAxis):
        if right_rank == 1 or b.dim == right_rank - 2:
            return Marker.POOLED
        if b.dim == right_rank - 1:
            found.append(SampleAxis(rank - 1, b.outer, b.inner))
        else:
            found.append(b)
    if Marker.LOST in (a, b):
        return Marker.LOST
    if not found:
        return next((m for m in (Marker.POOLED, Marker.SUMMED) if m in (a, b)), Marker.SHARED)
    return found[0] if all(f == found[0] for f in found) else Marker.LOST


def _plain(op: Any, product: Callable[[Tensor, Tensor], Tensor]) -> None:
    register(
        op,
        Rule(
            Kind.MULTILINEAR,
            lambda s: product_jet(s, 0, 1, product),
            lambda s: matrix_axis(s, 0, 1),
            factors=(0, 1),
        ),
    )


_plain(aten.mm.default, torch.mm)
_plain(aten.bmm.default, torch.bmm)
_plain(aten.matmul.default, torch.matmul)
_plain(aten.mv.default, torch.mv)
_plain(aten.dot.default, torch.dot)


def _with_bias(op: Any, product: Callable[[Tensor, Tensor], Tensor]) -> None:
    """y = β·bias + α·(left product right)."""

    def jet(s: Site) -> Jet:
        beta, alpha = s.node.kwargs.get("beta", 1), s.node.kwargs.get("alpha", 1)
        first, second = product_jet(s, 1, 2, product)

        def total(products: Tensor | None, bias: Tensor | None) -> Tensor | None:
            bias = bias if beta == 1 else mul(beta, bias)
            if products is None:
                return bias
            return accumulate(products if alpha == 1 else products.mul_(alpha), bias)

        return total(first, s.d(0)), total(second, s.dd(0))

    register(op, Rule(Kind.MULTILINEAR, jet, lambda s: matrix_axis(s, 1, 2), factors=(1, 2)))


_with_bias(aten.addmm.default, torch.mm)
_with_bias(aten.baddbmm.default, torch.bmm)
_with_bias(aten.addmv.default, torch.mv)


def with_bias(products: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """The sum of products, in memory of their own, and a bias that broadcasts to them."""
    return bias if products is None else accumulate(products, bias)


def _linear_jet(s: Site) -> Jet:
    first, second = product_jet(s, 0, 1, torch.nn.functional.linear)
    return with_bias(first, s.d(2)), with_bias(second, s.dd(2))


def _linear_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if isinstance(known, SampleAxis) and known.dim == len(s.shape(0)) - 1:
        return Marker.LOST
    return known


register(aten.linear.default, Rule(Kind.MULTILINEAR, _linear_jet, _linear_axis, factors=(0, 1)))
