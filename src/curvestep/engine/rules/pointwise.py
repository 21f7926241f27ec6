"""Elementwise operations: one line each, f′ and f″ as functions of the input x or the output y.

Kinks have the derivative that holds almost everywhere, the one that autograd uses for the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge, through_broadcast
from curvestep.engine.data.value import Value
from curvestep.engine.rules.table import (
    AxisSite,
    Jet,
    Kind,
    Rule,
    Site,
    add,
    elementwise_axis,
    mul,
    register,
    twice,
)

aten = torch.ops.aten

Slopes = tuple["Tensor | float", "Tensor | float | None"]  # f′, f″ (None: zero)


def unary(op: Any, slopes: Callable[[Site], Slopes], *, keep: str, curved: bool = True) -> None:
    """Enter y = f(x): ẏ = f′ ẋ, ÿ = f′ ẍ + f″ ẋ²."""

    def jet(site: Site) -> Jet:
        first, second = slopes(site)
        dx, ddx = site.d(0), site.dd(0)
        dy = mul(first, dx)
        if second is None or dx is None or site.first_only:
            return dy, mul(first, ddx)
        bend = (second * dx).mul_(dx)
        return dy, bend if ddx is None else bend.add_(first * ddx)

    register(
        op,
        Rule(
            Kind.NONLINEAR if curved else Kind.LINEAR,
            jet,
            elementwise_axis,
            keep_inputs=(0,) if "x" in keep else (),
            keep_outputs=(0,) if "y" in keep else (),
        ),
    )


def in_one_kernel(
    op: Any,
    through: Callable[[Site, Tensor], Tensor],
    bend: Callable[[Site, Tensor, Tensor], Tensor] | None,
    *,
    keep: str,
) -> None:
    """Enter y = f(x) for which torch's own backward kernel gives f′ t in one go.

    Args:
        op: the operation.
        through: f′ t for a tangent t; in a replay autograd must know its derivative.
        bend: f″ ẋ² from ẋ and ẏ = f′ ẋ, as a new tensor; None where it is zero.
        keep: which of "x" and "y" are read.
    """

    def jet(site: Site) -> Jet:
        dx, ddx = site.d(0), site.dd(0)
        dy = None if dx is None else through(site, dx)
        second = None if ddx is None else through(site, ddx)
        if bend is None or dx is None or dy is None or site.first_only:
            return dy, second
        bent = bend(site, dx, dy)
        return dy, bent if second is None else bent.add_(second)

    register(
        op,
        Rule(
            Kind.LINEAR if bend is None else Kind.NONLINEAR,
            jet,
            elementwise_axis,
            keep_inputs=(0,) if "x" in keep else (),
            keep_outputs=(0,) if "y" in keep else (),
        ),
    )


# -- smooth functions of one variable ---------------------------------------------------------------------------


def _tanh_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    return (dx * dy).mul_(s.y()).mul_(-2.0)  # f″ = −2 y f′


def _sigmoid_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    bent = dx * dy
    return bent.addcmul_(bent, s.y(), value=-2.0)  # f″ = f′ (1 − 2y)


def _silu_through(s: Site, t: Tensor) -> Tensor:
    x = s.x(0)
    if not s.watched:
        return aten.silu_backward(t, x)
    p = torch.sigmoid(x)  # autograd, which watches replays, knows no derivative of the kernel
    return t * (p + x * p * (1 - p))


def _silu_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    del dy
    x = s.x(0)
    p = torch.sigmoid(x)
    slope = p - p * p
    # f″ = p′ (2 + x (1 − 2p))
    return p.mul_(-2.0).add_(1.0).mul_(x).add_(2.0).mul_(slope).mul_(dx).mul_(dx)


def _gelu_kind(s: Site) -> str:
    return s.node.kwargs.get("approximate", s.arg(1, "none"))


def _gelu_through(s: Site, t: Tensor) -> Tensor:
    return aten.gelu_backward(t, s.x(0), approximate=_gelu_kind(s))


def _gelu_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    del dy
    x = s.x(0)
    if _gelu_kind(s) == "tanh":
        k, c = math.sqrt(2 / math.pi), 0.044715
        t = torch.tanh(k * (x + c * x**3))
        inner, bend = k * (1 + 3 * c * x * x), k * 6 * c * x
        sech = 1 - t * t
        return (sech * inner + 0.5 * x * sech * (bend - 2 * t * inner * inner)).mul_(dx).mul_(dx)
    # f″ = φ(x) (2 − x²) with φ the normal density: its constant goes into the exponent
    square = x * x
    density = torch.add(square.new_tensor(math.log(2 / math.sqrt(2 * math.pi))), square, alpha=-0.5).exp_()
    return density.addcmul_(density, square, value=-0.5).mul_(dx).mul_(dx)


def _softplus_through(s: Site, t: Tensor) -> Tensor:
    return aten.softplus_backward(t, s.x(0), s.arg(1, 1), s.arg(2, 20))


def _softplus_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    bent = (dx - dy).mul_(dy)  # f″ = β f′ (1 − f′), zero where f is taken for linear
    return bent if s.arg(1, 1) == 1 else bent.mul_(s.arg(1, 1))


def _elu(s: Site) -> Slopes:
    # elu(x) = scale·(x if x > 0 else α(exp(input_scale·x) − 1))
    x = s.x(0)
    alpha, scale, rate = s.arg(1, 1), s.arg(2, 1), s.arg(3, 1)
    grown = (alpha * scale * rate) * torch.exp(rate * x.clamp(max=0))
    positive = x > 0
    return torch.where(positive, float(scale), grown), torch.where(positive, 0.0, rate * grown)


def _mish(s: Site) -> Slopes:
    x = s.x(0)
    p = torch.sigmoid(x)
    t = torch.tanh(torch.nn.functional.softplus(x))
    u = 1 - t * t  # d tanh at softplus(x)
    q = p * (1 - p)
    dt = u * p
    ddt = u * q - 2 * t * dt * p
    return t + x * dt, 2 * dt + x * ddt


def _log_sigmoid(s: Site) -> Slopes:
    p = torch.sigmoid(-s.x(0))
    return p, -p * (1 - p)


def _power(s: Site) -> Slopes:
    x, n = s.x(0), s.arg(1)
    if n == 0:
        return 0.0, None
    if n == 1:
        return 1.0, None
    if n == 2:
        return 2 * x, 2.0
    return n * x ** (n - 1), n * (n - 1) * x ** (n - 2)


def _exp(s: Site) -> Slopes:
    return s.y(), s.y()


def _sqrt(s: Site) -> Slopes:
    slope = 0.5 / s.y()
    return slope, -slope * slope / s.y()


def _rsqrt(s: Site) -> Slopes:
    y = s.y()
    cube = y * y * y
    return -0.5 * cube, 0.75 * cube * y * y


def _reciprocal(s: Site) -> Slopes:
    y = s.y()
    return -y * y, 2 * y * y * y


def _log(scale: float) -> Callable[[Site], Slopes]:
    def slopes(s: Site) -> Slopes:
        inverse = 1 / s.x(0)
        return scale * inverse, -scale * inverse * inverse

    return slopes


def _log1p(s: Site) -> Slopes:
    inverse = 1 / (1 + s.x(0))
    return inverse, -inverse * inverse


def _expm1(s: Site) -> Slopes:
    grown = s.y() + 1
    return grown, grown


def _exp2(s: Site) -> Slopes:
    grown = s.y() * math.log(2)
    return grown, grown * math.log(2)


def _erf(s: Site) -> Slopes:
    x = s.x(0)
    slope = 2 / math.sqrt(math.pi) * torch.exp(-x * x)
    return slope, -2 * x * slope


def _tan(s: Site) -> Slopes:
    y = s.y()
    slope = 1 + y * y
    return slope, 2 * y * slope


def _atan(s: Site) -> Slopes:
    x = s.x(0)
    slope = 1 / (1 + x * x)
    return slope, -2 * x * slope * slope


in_one_kernel(aten.tanh.default, lambda s, t: aten.tanh_backward(t, s.y()), _tanh_bend, keep="y")
in_one_kernel(aten.sigmoid.default, lambda s, t: aten.sigmoid_backward(t, s.y()), _sigmoid_bend, keep="y")
in_one_kernel(aten.silu.default, _silu_through, _silu_bend, keep="x")
in_one_kernel(aten.gelu.default, _gelu_through, _gelu_bend, keep="x")
in_one_kernel(aten.softplus.default, _softplus_through, _softplus_bend, keep="x")
unary(aten.elu.default, _elu, keep="x")
unary(aten.mish.default, _mish, keep="x")
unary(aten.log_sigmoid_forward.default, _log_sigmoid, keep="x")
unary(aten.pow.Tensor_Scalar, _power, keep="x")
unary(aten.exp.default, _exp, keep="y")
unary(aten.exp2.default, _exp2, keep="y")
unary(aten.expm1.default, _expm1, keep="y")
unary(aten.log.default, _log(1.0), keep="x")
unary(aten.log2.default, _log(1 / math.log(2)), keep="x")
unary(aten.log10.default, _log(1 / math.log(10)), keep="x")
unary(aten.log1p.default, _log1p, keep="x")
unary(aten.sqrt.default, _sqrt, keep="y")
unary(aten.rsqrt.default, _rsqrt, keep="y")
unary(aten.reciprocal.default, _reciprocal, keep="y")
unary(aten.sin.default, lambda s: (torch.cos(s.x(0)), -s.y()), keep="xy")
unary(aten.cos.default, lambda s: (-torch.sin(s.x(0)), -s.y()), keep="xy")
unary(aten.tan.default, _tan, keep="y")
unary(aten.sinh.default, lambda s: (torch.cosh(s.x(0)), s.y()), keep="xy")
unary(aten.cosh.default, lambda s: (torch.sinh(s.x(0)), s.y()), keep="xy")
unary(aten.atan.default, _atan, keep="x")
unary(aten.erf.default, _erf, keep="x")


# -- piecewise linear functions of one variable ------------------------------------------------------------------


def _between(s: Site, low: float | None, high: float | None) -> Tensor:
    x = s.x(0)
    inside = torch.ones_like(x, dtype=torch.bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return inside.to(x.dtype)


def _hardtanh(s: Site, t: Tensor) -> Tensor:
    return aten.hardtanh_backward(t, s.x(0), s.arg(1, -1), s.arg(2, 1))


def _leaky(s: Site, t: Tensor) -> Tensor:
    return aten.leaky_relu_backward(t, s.x(0), s.arg(1, 0.01), False)


in_one_kernel(aten.relu.default, lambda s, t: aten.threshold_backward(t, s.y(), 0), None, keep="y")
in_one_kernel(aten.leaky_relu.default, _leaky, None, keep="x")
in_one_kernel(aten.hardtanh.default, _hardtanh, None, keep="x")
in_one_kernel(aten.threshold.default, lambda s, t: aten.threshold_backward(t, s.x(0), s.arg(1)), None, keep="x")
unary(aten.clamp.default, lambda s: (_between(s, s.option(1, "min"), s.option(2, "max")), None), keep="x", curved=False)
unary(aten.clamp_min.default, lambda s: (_between(s, s.arg(1), None), None), keep="x", curved=False)
unary(aten.clamp_max.default, lambda s: (_between(s, None, s.arg(1)), None), keep="x", curved=False)
unary(aten.neg.default, lambda s: (-1.0, None), keep="", curved=False)


# -- two operands -------------------------------------------------------------------------------------------------


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
register(aten.add.Tensor, Rule(Kind.LINEAR, _add_jet(1.0), elementwise_axis))
register(aten.sub.Tensor, Rule(Kind.LINEAR, _add_jet(-1.0), elementwise_axis))
register(aten.add.Scalar, Rule(Kind.LINEAR, lambda s: (s.d(0), s.dd(0)), elementwise_axis))
register(aten.sub.Scalar, Rule(Kind.LINEAR, lambda s: (s.d(0), s.dd(0)), elementwise_axis))
register(aten.rsub.Scalar, Rule(Kind.LINEAR, _rsub_jet, elementwise_axis))
register(aten.rsub.Tensor, Rule(Kind.LINEAR, _rsub_jet, elementwise_axis))
register(aten.mul.Tensor, Rule(Kind.MULTILINEAR, _mul_jet, elementwise_axis, factors=BOTH))
register(aten.mul.Scalar, Rule(Kind.LINEAR, _mul_jet, elementwise_axis))
register(aten.div.Scalar, Rule(Kind.LINEAR, _div_jet, elementwise_axis))


def _div_curved() -> Rule:
    # Bent by the divisor alone: it counts as two factors, so that division of a moving tensor by a constant is linear.
    return Rule(Kind.MULTILINEAR, _div_jet, elementwise_axis, factors=(1, 1), keep_inputs=(1,), keep_outputs=(0,))


register(aten.div.Tensor, _div_curved())


def _extremum(larger: bool) -> Callable[[Site], Jet]:
    def jet(s: Site) -> Jet:
        a, b = s.x(0), s.x(1)
        # ties share the gradient equally, as autograd does
        weight = torch.where(a == b, 0.5, ((a > b) if larger else (a < b)).to(a.dtype))

        def pick(left: Tensor | None, right: Tensor | None) -> Tensor | None:
            return add(mul(weight, left), mul(1 - weight, right))

        return pick(s.d(0), s.d(1)), pick(s.dd(0), s.dd(1))

    return jet


register(aten.maximum.default, Rule(Kind.LINEAR, _extremum(True), elementwise_axis, keep_inputs=BOTH))
register(aten.minimum.default, Rule(Kind.LINEAR, _extremum(False), elementwise_axis, keep_inputs=BOTH))


def _pow_tensor(s: Site) -> Jet:
    # y = exp(b log a); the base, the exponent or both may move
    a, b, y = operand(s, 0), operand(s, 1), s.y()
    da, db, dda, ddb = s.d(0), s.d(1), s.dd(0), s.dd(1)
    if db is None and ddb is None:
        slope = b * a ** (b - 1)
        return mul(slope, da), add(mul(slope, dda), None if da is None else b * (b - 1) * a ** (b - 2) * da * da)
    log = torch.log(a) if isinstance(a, Tensor) else math.log(a)
    ratio = None if da is None else da / a
    inner = add(mul(db, log), mul(b, ratio))
    bend = add(
        mul(ddb, log),
        twice(mul(db, ratio)),
        None if dda is None else b * dda / a,
        None if ratio is None else -b * ratio * ratio,
    )
    dy = mul(y, inner)
    return dy, add(mul(y, bend), mul(dy, inner))


def _pow_axis(s: AxisSite) -> Annotation:
    return elementwise_axis(s)


register(aten.pow.Tensor_Tensor, Rule(Kind.NONLINEAR, _pow_tensor, _pow_axis, keep_inputs=BOTH, keep_outputs=(0,)))
register(aten.pow.Scalar, Rule(Kind.NONLINEAR, _pow_tensor, _pow_axis, keep_inputs=(1,), keep_outputs=(0,)))


# -- three operands, choices and casts -----------------------------------------------------------------------------


def _addcmul(s: Site) -> Jet:
    scale = s.node.kwargs.get("value", 1)
    a, b = (
        (s.x(1) if s.d(2) is not None or s.dd(2) is not None else None),
        (s.x(2) if s.d(1) is not None or s.dd(1) is not None else None),
    )
    first = add(mul(s.d(1), b), mul(a, s.d(2)))
    second = add(mul(s.dd(1), b), mul(a, s.dd(2)), twice(mul(s.d(1), s.d(2))))
    return add(s.d(0), mul(scale, first)), add(s.dd(0), mul(scale, second))


register(aten.addcmul.default, Rule(Kind.MULTILINEAR, _addcmul, elementwise_axis, factors=(1, 2)))


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


register(aten.lerp.Scalar, Rule(Kind.LINEAR, _lerp, elementwise_axis))
register(aten.lerp.Tensor, Rule(Kind.NONLINEAR, _lerp, elementwise_axis, keep_inputs=(0, 1, 2)))


def _where(s: Site) -> Jet:
    mask = s.x(0)

    def pick(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None and b is None:
            return None
        return torch.where(mask, 0.0 if a is None else a, 0.0 if b is None else b)

    return pick(s.d(1), s.d(2)), pick(s.dd(1), s.dd(2))


register(aten.where.self, Rule(Kind.LINEAR, _where, elementwise_axis))


def _masked_fill(s: Site) -> Jet:
    mask = s.x(1)

    def fill(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.masked_fill(mask, 0.0)

    value_d = s.d(2) if s.live(2) else None
    value_dd = s.dd(2) if s.live(2) else None
    return add(fill(s.d(0)), mul(mask, value_d)), add(fill(s.dd(0)), mul(mask, value_dd))


register(aten.masked_fill.Scalar, Rule(Kind.LINEAR, _masked_fill, elementwise_axis))
register(aten.masked_fill.Tensor, Rule(Kind.LINEAR, _masked_fill, elementwise_axis))


def _cast(s: Site) -> Jet:
    value = s.node.outputs[0]
    assert value is not None
    dx, ddx, dtype = s.d(0), s.dd(0), s.dtype(value)
    return (None if dx is None else dx.to(dtype)), (None if ddx is None else ddx.to(dtype))


register(aten._to_copy.default, Rule(Kind.LINEAR, _cast, elementwise_axis))


def _copy_into(s: Site) -> Jet:
    # copy_(destination, source): the destination's own tangent is overwritten
    value = s.node.outputs[0]
    assert value is not None

    def move(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.to(s.dtype(value)).expand(value.shape)

    return move(s.d(1)), move(s.dd(1))


def _copy_axis(s: AxisSite) -> Annotation:
    source = through_broadcast(s.at(1), s.shape(1), s.out_shape())
    return merge([(source, True)])


def _copy_again(s: Site, args: tuple[Any, ...], watched: bool) -> Any:
    into, source = args[:2]
    return source.to(into.dtype).expand(into.shape).clone()  # aten.copy has no derivative


for _op in (aten.copy_.default, aten.copy.default):
    register(_op, Rule(Kind.LINEAR, _copy_into, _copy_axis, rerun=_copy_again))


# -- dropout and constants ------------------------------------------------------------------------------------------


def _native_dropout(s: Site) -> list[Jet]:
    p, train = s.arg(1), s.arg(2)
    if train is False or p == 0:
        return [(s.d(0), s.dd(0)), (None, None)]
    scale = 0.0 if p == 1 else 1 / (1 - p)
    mask = s.y(1).to(s.dtype(s.node.outputs[0])) * scale  # type: ignore[arg-type]
    return [(mul(s.d(0), mask), mul(s.dd(0), mask)), (None, None)]


def _dropout_again(s: Site, args: tuple[Any, ...], watched: bool) -> Any:
    """Dropout with the recorded mask."""
    x, p, train = args
    if train is False or p == 0:
        return x, torch.ones_like(x, dtype=torch.bool)
    return x * (s.y(1).to(x.dtype) * (0.0 if p == 1 else 1 / (1 - p))), s.y(1)


register(
    aten.native_dropout.default,
    Rule(Kind.LINEAR, _native_dropout, elementwise_axis, keep_outputs=(1,), rerun=_dropout_again),
)


def _zero(s: Site) -> list[Jet]:
    return [(None, None)] * len(s.node.outputs)


def _fill_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    return known if isinstance(known, SampleAxis) else Marker.SHARED


for _op in (
    aten.floor.default, aten.ceil.default, aten.round.default, aten.trunc.default, aten.sign.default,
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.empty_like.default,
    aten.rand_like.default, aten.randn_like.default, aten.fill.Scalar, aten.zero.default,
    aten.detach.default, aten.bernoulli.default,
):  # fmt: skip
    register(_op, Rule(Kind.CONSTANT, _zero, _fill_axis))


def _new_axis(s: AxisSite) -> Annotation:
    return Marker.SHARED  # only dtype and device come from the argument; what is written later brings its samples


for _op in (
    aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default,
    aten.new_empty_strided.default,
):  # fmt: skip
    register(_op, Rule(Kind.CONSTANT, _zero, _new_axis))
