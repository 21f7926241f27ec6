"""Products and running products and sums of exponentials: jets folded or scanned, so that zeros do no harm.

A jet (x, ẋ, ẍ) multiplies as a truncated series: (ab, ȧb + aḃ, äb + 2ȧḃ + ab̈). Folding in pairs takes log₂ n rounds and
divides by nothing, where the usual y/xᵢ would divide by a zero element.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Marker
from curvestep.engine.rules.axes import kept_unless
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.reduce import dims_of, pooled_axis, reduced_axis
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul, twice

Series = tuple[Tensor, "Tensor | None", "Tensor | None"]
Combine = Callable[[Series, Series], Series]


def _times(left: Series, right: Series) -> Series:
    a, da, dda = left
    b, db, ddb = right
    return a * b, add(mul(da, b), mul(a, db)), add(mul(dda, b), mul(a, ddb), twice(mul(da, db)))


def _log_plus(left: Series, right: Series) -> Series:
    """log(eᵃ + eᵇ): with p = σ(a − b) the derivatives are p ȧ + q ḃ and p ä + q b̈ + p q (ȧ − ḃ)²."""
    a, da, dda = left
    b, db, ddb = right
    # two elements that are both −∞ have no mass to share
    gap = torch.where(a == b, 0.0, a - b)
    p, q = torch.sigmoid(gap), torch.sigmoid(-gap)
    apart = add(da, mul(-1.0, db))
    bend = None if apart is None else p * q * apart * apart
    return torch.logaddexp(a, b), add(mul(p, da), mul(q, db)), add(mul(p, dda), mul(q, ddb), bend)


def _each(series: Series, change: Callable[[Tensor], Tensor]) -> Series:
    x, dx, ddx = series
    return change(x), None if dx is None else change(dx), None if ddx is None else change(ddx)


def _fold(series: Series, dim: int, combine: Combine) -> Series:
    """Combine everything along an axis, in pairs; the axis stays with length one."""
    while (n := series[0].shape[dim]) > 1:
        half = n // 2
        merged = combine(
            _each(series, lambda t, h=half: t.narrow(dim, 0, h)), _each(series, lambda t, h=half: t.narrow(dim, h, h))
        )
        if n % 2:
            rest = _each(series, lambda t, h=half: t.narrow(dim, 2 * h, 1))
            head = combine(_each(merged, lambda t: t.narrow(dim, 0, 1)), rest)
            merged = _joined(head, _each(merged, lambda t, h=half: t.narrow(dim, 1, h - 1)), dim)
        series = merged
    return series


def _joined(left: Series, right: Series, dim: int) -> Series:
    def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat([a, b], dim)

    return torch.cat([left[0], right[0]], dim), both(left[1], right[1]), both(left[2], right[2])


def _scan(series: Series, dim: int, combine: Combine) -> Series:
    """Combine each element with all before it: doubling, log₂ n rounds."""
    n, reach = series[0].shape[dim], 1
    while reach < n:
        earlier = _each(series, lambda t, r=reach: t.narrow(dim, 0, n - r))
        later = _each(series, lambda t, r=reach: t.narrow(dim, r, n - r))
        series = _joined(_each(series, lambda t, r=reach: t.narrow(dim, 0, r)), combine(earlier, later), dim)
        reach *= 2
    return series


def _series(s: Site) -> Series:
    """The jet of the argument; a second tangent without a first one gets a first one of zeros, and so on."""
    x, dx, ddx = s.x(0), s.d(0), s.dd(0)
    if dx is None and ddx is not None:
        dx = torch.zeros_like(ddx)
    if dx is not None and ddx is None:
        ddx = torch.zeros_like(dx)
    return x, dx, ddx


# -- products --------------------------------------------------------------------------------------------------------


def _product(s: Site) -> Jet:
    _, first, second = _fold(_each(_series(s), lambda t: t.reshape(-1)), 0, _times)
    return None if first is None else first.reshape(()), None if second is None else second.reshape(())


def _product_along(s: Site) -> Jet:
    if not s.arg(0).shape:
        return s.d(0), s.dd(0)
    dim, keep = s.arg(1), s.arg(2, False)
    _, first, second = _fold(_series(s), dim, _times)
    if keep:
        return first, second
    return None if first is None else first.squeeze(dim), None if second is None else second.squeeze(dim)


op(
    aten.prod.default,
    Rule(
        Kind.NONLINEAR,
        _product,
        lambda s: reduced_axis(s, dims_of(None, len(s.shape(0))), False, Marker.POOLED),
        keep_inputs=(0,),
    ),
)
op(aten.prod.dim_int, Rule(Kind.NONLINEAR, _product_along, pooled_axis, keep_inputs=(0,)))


# -- running ---------------------------------------------------------------------------------------------------------


def _running(combine: Combine) -> Rule:
    def jet(s: Site) -> Jet:
        if not s.arg(0).shape:
            return s.d(0), s.dd(0)
        _, first, second = _scan(_series(s), s.arg(1), combine)
        return first, second

    return Rule(Kind.NONLINEAR, jet, kept_unless(lambda s: [s.arg(1)]), keep_inputs=(0,))


op(aten.cumprod.default, _running(_times))
op(aten.logcumsumexp.default, _running(_log_plus))
