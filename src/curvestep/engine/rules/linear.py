"""Matrix products: bilinear in their two factors, so ÿ has the cross term 2 V ẋ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import Cut, Kind, NotCut, Product, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge, through_broadcast
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.axes import BATCHED
from curvestep.engine.rules.bilinear import Bilinear, Tangents, bilinear_jet, worth_it
from curvestep.engine.rules.forms import jointly_linear
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import accumulate, mul


def product_jet(site: Site, left: int, right: int, product: Callable[[Tensor, Tensor], Tensor]) -> Tangents:
    """Jets of a bilinear product of two arguments of which no more is known."""
    return bilinear_jet(site, left, right, Bilinear(product))


def _transposed(run: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`addmm` and its kind with the bias last."""
    return lambda a, b, bias: run(bias, a, b)


_MM = Bilinear(torch.mm, shifted=_transposed(torch.addmm), onto=lambda total, a, b: total.addmm_(a, b))
_BMM = Bilinear(torch.bmm, shifted=_transposed(torch.baddbmm), onto=lambda total, a, b: total.baddbmm_(a, b))
_MV = Bilinear(torch.mv, shifted=_transposed(torch.addmv), onto=lambda total, a, b: total.addmv_(a, b))


def matrix_axis(site: AxisSite, left: int, right: int) -> Annotation:
    """Rows come from the left factor, columns from the right, leading axes from both; a contracted axis is pooled."""
    a, b = site.at(left), site.at(right)
    rank = len(site.out_shape())
    left_rank, right_rank = len(site.shape(left)), len(site.shape(right))
    found: list[Annotation] = []
    if isinstance(a, SampleAxis):
        if left_rank == 1 or a.dim == left_rank - 1:
            return Marker.POOLED
        found.append(a.at(a.dim + rank - left_rank + (right_rank == 1)))
    if isinstance(b, SampleAxis):
        if right_rank == 1 or b.dim == right_rank - 2:
            return Marker.POOLED
        if b.dim == right_rank - 1:
            found.append(b.at(rank - 1))
        else:
            found.append(b.at(b.dim + rank - right_rank + (left_rank == 1)))
    if Marker.LOST in (a, b):
        return Marker.LOST
    if not found:
        return next((m for m in (Marker.POOLED, Marker.SUMMED) if m in (a, b)), Marker.SHARED)
    return found[0] if all(f == found[0] for f in found) else Marker.LOST


def both_live(left: int, right: int) -> Callable[[Sequence[Any], Value], bool]:
    """Whether a product whose factors both move is large enough for its value to be of use (`worth_it`)."""

    def wanted(args: Sequence[Any], out: Value) -> bool:
        a, b = args[left], args[right]
        return a.needs_grad and b.needs_grad and worth_it(math.prod(a.shape), b.shape, out.shape)

    return wanted


def _plain(form: Bilinear, *, polarised: bool = False) -> Rule:
    return Rule(
        Kind.MULTILINEAR,
        lambda s: bilinear_jet(s, 0, 1, form, output=0 if polarised else None),
        lambda s: matrix_axis(s, 0, 1),
        factors=(0, 1),
        may_read=both_live(0, 1) if polarised else None,
    )


op(aten.mm.default, _plain(_MM, polarised=True), dtype="product", product=Product((0, 1), polarises=True))
op(aten.bmm.default, _plain(_BMM), dtype="product", product=Product((0, 1)), cut=BATCHED)
op(aten.matmul.default, _plain(Bilinear(torch.matmul)), dtype="product", product=Product((0, 1)))
op(aten.mv.default, _plain(_MV), dtype="product", product=Product((0, 1)))
op(aten.dot.default, _plain(Bilinear(torch.dot)), product=Product((0, 1)))


def with_bias(products: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """The sum of products, in memory of their own, and a bias that broadcasts to them."""
    return bias if products is None else accumulate(products, bias)


def _biased_axis(s: AxisSite) -> Annotation:
    """Samples in the bias, which is broadcast, or in the product, of which no sum over samples reaches theirs."""
    product, bias = matrix_axis(s, 1, 2), through_broadcast(s.at(0), s.shape(0), s.out_shape())
    summed = product is Marker.POOLED and (isinstance(s.at(1), SampleAxis) or isinstance(s.at(2), SampleAxis))
    return Marker.LOST if summed and isinstance(bias, SampleAxis) else merge([bias, product])


def _with_bias(form: Bilinear, *, polarised: bool = False) -> Rule:
    """y = β·bias + α·(left product right)."""

    def jet(s: Site) -> Jet:
        beta, alpha = s.node.kwargs.get("beta", 1), s.node.kwargs.get("alpha", 1)
        if alpha == 1 and beta == 1:
            first, second = bilinear_jet(s, 1, 2, form, bias=0, output=0 if polarised else None)
            return first, with_bias(second, s.dd(0))
        first, second = bilinear_jet(s, 1, 2, form)

        def total(products: Tensor | None, bias: Tensor | None) -> Tensor | None:
            bias = bias if beta == 1 else mul(beta, bias)
            if products is None:
                return bias
            return accumulate(products if alpha == 1 else products.mul_(alpha), bias)

        return total(first, s.d(0)), total(second, s.dd(0))

    return Rule(
        Kind.MULTILINEAR,
        jet,
        _biased_axis,
        factors=(1, 2),
        may_read=both_live(1, 2) if polarised else None,
    )


op(aten.addmm.default, _with_bias(_MM, polarised=True), dtype="product", product=Product((1, 2), polarises=True))
op(aten.baddbmm.default, _with_bias(_BMM), dtype="product", product=Product((1, 2)), cut=BATCHED)
op(aten.addmv.default, _with_bias(_MV), dtype="product", product=Product((1, 2)))


def _linear_onto(total: Tensor, x: Tensor, w: Tensor) -> Tensor:
    rows = total.view(-1, total.shape[-1]) if total.is_contiguous() else None
    if rows is None or w.dim() != 2:
        return total.add_(torch.nn.functional.linear(x, w))
    rows.addmm_(x.reshape(-1, x.shape[-1]), w.t())
    return total


def _linear_jet(s: Site) -> Jet:
    first, second = bilinear_jet(s, 0, 1, _LINEAR, bias=2, output=0)
    return first, with_bias(second, s.dd(2))


_LINEAR = Bilinear(torch.nn.functional.linear, shifted=torch.nn.functional.linear, onto=_linear_onto)


def _linear_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if isinstance(known, SampleAxis) and known.dim == len(s.shape(0)) - 1:
        return Marker.LOST
    return known


op(
    aten.linear.default,
    Rule(Kind.MULTILINEAR, _linear_jet, _linear_axis, factors=(0, 1), may_read=both_live(0, 1)),
    dtype="product",
    product=Product((0, 1), polarises=True),
)


# -- a sparse factor, which is a constant -----------------------------------------------------------------------------

_SPARSE = jointly_linear((0, 2), lambda s: matrix_axis(s, 1, 2))


def _sparse_product(s: Site) -> Any:
    """y = β·bias + α·(sparse matrix · dense one)."""
    if s.live(1):
        raise MissingRuleError(
            f"{s.node.name} has no rule for a sparse matrix that carries a gradient; detach it, or multiply by a dense "
            "one."
        )
    assert _SPARSE.propagate is not None
    return _SPARSE.propagate(s)


def _uncut(node: Node, out: SampleAxis, result: Value) -> None:
    raise NotCut(f"{node.name} reads a sparse matrix, of which no part can be taken")


op(
    aten._sparse_addmm.default,
    replace(_SPARSE, propagate=_sparse_product),
    cut=Cut(aligned=_uncut),
)
