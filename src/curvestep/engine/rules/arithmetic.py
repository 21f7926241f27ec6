"""Sums, products, quotients and powers of two or three operands, with broadcasting."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.value import Value
from curvestep.engine.rules.axes import elementwise_axis
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul, twice


def _add_jet(sign: float) -> Callable[[Site], Jet]:
    def jet(s: Site) -> Jet:
        scale = sign * s.node.kwargs.get("alpha", 1)

        def total(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return a if b is None else add(a, b if scale == 1 else scale * b)

        return total(s.d(0), s.d(1)), total(s.dd(0), s.dd(1))

    return jet


def _rsub_jet(s: Site) -> Jet:
    alpha = s.option(2, "alpha", 1)
    return (
        add(mul(-alpha, s.d(0)), s.d(1) if s.live(1) else None),
        add(mul(-alpha, s.dd(0)), s.dd(1) if s.live(1) else None),
    )


def operand(site: Site, index: int) -> Tensor | float:
    """A factor that may be a tensor or a number."""
    arg = site.arg(index)
    return site.x(index) if isinstance(arg, Value) else arg


def _mul_jet(s: Site) -> Jet:
    da, db, dda, ddb = s.d(0), s.d(1), s.dd(0), s.dd(1)
    a = operand(s, 0) if db is not None or ddb is not None else None
    b = operand(s, 1) if da is not None or dda is not None else None
    cross = None if s.first_only else twice(mul(da, db))
    return add(mul(da, b), mul(a, db)), add(mul(dda, b), mul(a, ddb), cross)


def _div_jet(s: Site) -> Jet:
    b = operand(s, 1)
    da, db, dda, ddb = s.d(0), s.d(1), s.dd(0), s.dd(1)
    if db is None and ddb is None:
        return (None if da is None else da / b), (None if dda is None else dda / b)
    y = s.y()
    dy = add(None if da is None else da / b, mul(mul(-1.0, y), None if db is None else db / b))
    # b y = a  ⇒  b ÿ + 2 ḃ ẏ + b̈ y = ä
    top = add(dda, mul(-2.0, mul(db, dy)), mul(-1.0, mul(ddb, y)))
    return dy, None if top is None else top / b


BOTH = (0, 1)
op(aten.add.Tensor, Rule(Kind.LINEAR, _add_jet(1.0), elementwise_axis), dtype="arriving")
op(aten.sub.Tensor, Rule(Kind.LINEAR, _add_jet(-1.0), elementwise_axis), dtype="arriving")
op(aten.add.Scalar, Rule(Kind.LINEAR, lambda s: (s.d(0), s.dd(0)), elementwise_axis), dtype="arriving")
op(aten.sub.Scalar, Rule(Kind.LINEAR, lambda s: (s.d(0), s.dd(0)), elementwise_axis), dtype="arriving")
op(aten.rsub.Scalar, Rule(Kind.LINEAR, _rsub_jet, elementwise_axis), dtype="arriving")
op(aten.rsub.Tensor, Rule(Kind.LINEAR, _rsub_jet, elementwise_axis), dtype="arriving")
op(aten.mul.Tensor, Rule(Kind.MULTILINEAR, _mul_jet, elementwise_axis, factors=BOTH), dtype="arriving")
op(aten.mul.Scalar, Rule(Kind.LINEAR, _mul_jet, elementwise_axis), dtype="arriving")
op(aten.div.Scalar, Rule(Kind.LINEAR, _div_jet, elementwise_axis), dtype="arriving")


# Bent by the divisor alone: it counts as two factors, so that division of a moving tensor by a constant is linear.
op(
    aten.div.Tensor,
    Rule(Kind.MULTILINEAR, _div_jet, elementwise_axis, factors=(1, 1), keep_inputs=(1,), keep_outputs=(0,)),
)


def _extremum(larger: bool) -> Callable[[Site], Jet]:
    def jet(s: Site) -> Jet:
        a, b = s.x(0), s.x(1)
        # ties share the gradient equally, as autograd does
        weight = torch.where(a == b, 0.5, ((a > b) if larger else (a < b)).to(a.dtype))

        def pick(left: Tensor | None, right: Tensor | None) -> Tensor | None:
            return add(mul(weight, left), mul(1 - weight, right))

        return pick(s.d(0), s.d(1)), pick(s.dd(0), s.dd(1))

    return jet


op(aten.maximum.default, Rule(Kind.LINEAR, _extremum(True), elementwise_axis, keep_inputs=BOTH), kinks=True)
op(aten.minimum.default, Rule(Kind.LINEAR, _extremum(False), elementwise_axis, keep_inputs=BOTH), kinks=True)


def _power_times(factor: Tensor | float, a: Tensor | float, n: Tensor | float) -> Tensor:
    """Factor · aⁿ; 0 where the factor is, though aⁿ may be infinite there."""
    return factor * torch.where(torch.as_tensor(factor == 0), 1.0, a) ** n


def _log_of(a: Tensor | complex, like: Tensor) -> Tensor | complex:
    """log a; 0 at a = 0, where it meets aᵇ = 0: autograd takes aᵇ log a for 0 there. Complex where `like` is."""
    if isinstance(a, Tensor):
        a = a.to(like.dtype) if like.is_complex() else a
        return torch.log(torch.where(a == 0, 1.0, a))
    if like.is_complex() and a != 0:
        return cmath.log(a)
    assert not isinstance(a, complex) or a == 0
    a = a.real
    return math.log(a) if a > 0 else 0.0 if a == 0 else math.nan


def _pow_tensor(s: Site) -> Jet:
    # y = exp(b log a); the base, the exponent or both may move
    a, b = operand(s, 0), operand(s, 1)
    da, db, dda, ddb = s.d(0), s.d(1), s.dd(0), s.dd(1)
    slope = None if da is None and dda is None else _power_times(b, a, b - 1)
    bend = None if da is None else _power_times(b * (b - 1), a, b - 2) * da * da
    first, second = mul(slope, da), add(bend, mul(slope, dda))
    if db is None and ddb is None:
        return first, second
    y = s.y()
    log = _log_of(a, y)
    rate = y * log
    crossed = None if da is None or db is None or slope is None else 2.0 * db * da * (a ** (b - 1) + slope * log)
    grown = None if db is None else rate * log * db * db
    return add(first, mul(rate, db)), add(second, crossed, grown, mul(rate, ddb))


op(aten.pow.Tensor_Tensor, Rule(Kind.NONLINEAR, _pow_tensor, elementwise_axis, keep_inputs=BOTH, keep_outputs=(0,)))
op(aten.pow.Scalar, Rule(Kind.NONLINEAR, _pow_tensor, elementwise_axis, keep_inputs=(1,), keep_outputs=(0,)))


# -- three operands ----------------------------------------------------------------------------------------------------


def _addcmul(s: Site) -> Jet:
    scale = s.node.kwargs.get("value", 1)
    a, b = (
        (s.x(1) if s.d(2) is not None or s.dd(2) is not None else None),
        (s.x(2) if s.d(1) is not None or s.dd(1) is not None else None),
    )
    first = add(mul(s.d(1), b), mul(a, s.d(2)))
    second = add(mul(s.dd(1), b), mul(a, s.dd(2)), twice(mul(s.d(1), s.d(2))))
    return add(s.d(0), mul(scale, first)), add(s.dd(0), mul(scale, second))


op(aten.addcmul.default, Rule(Kind.MULTILINEAR, _addcmul, elementwise_axis, factors=(1, 2)))


def _lerp(s: Site) -> Jet:
    # y = a + w (b − a)
    w = operand(s, 2)

    def mix(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return add(None if a is None else a - w * a, mul(w, b))

    dw, ddw = (s.d(2), s.dd(2)) if isinstance(w, Tensor) else (None, None)
    first, second = mix(s.d(0), s.d(1)), mix(s.dd(0), s.dd(1))
    if dw is None and ddw is None:
        return first, second
    gap = s.x(1) - s.x(0)
    dgap = add(s.d(1), mul(-1.0, s.d(0)))
    return add(first, mul(dw, gap)), add(second, mul(ddw, gap), twice(mul(dw, dgap)))


op(aten.lerp.Scalar, Rule(Kind.LINEAR, _lerp, elementwise_axis))
op(aten.lerp.Tensor, Rule(Kind.NONLINEAR, _lerp, elementwise_axis, keep_inputs=(0, 1, 2)))
