"""Elementwise functions of two operands by their partial derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules.arithmetic import operand
from curvestep.engine.rules.axes import elementwise_axis
from curvestep.engine.rules.forms import torchs_formula
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul, twice

Factor = Tensor | float | None


@final
@dataclass(frozen=True, slots=True)
class Partials:
    """The derivatives of f(a, b); None is zero."""

    a: Factor
    b: Factor
    aa: Factor = None
    ab: Factor = None
    bb: Factor = None


def binary(partials: Callable[[Site], Partials], *, keep: str = "ab", curved: bool = True) -> Rule:
    """y = f(a, b) with broadcasting."""

    def jet(s: Site) -> Jet:
        f = partials(s)
        da, db, dda, ddb = s.d(0), s.d(1), s.dd(0), s.dd(1)
        first = add(mul(f.a, da), mul(f.b, db))
        bend = add(
            mul(f.aa, None if da is None else da * da),
            twice(mul(f.ab, mul(da, db))),
            mul(f.bb, None if db is None else db * db),
        )
        return first, add(mul(f.a, dda), mul(f.b, ddb), bend)

    return Rule(
        Kind.NONLINEAR if curved else Kind.LINEAR,
        jet,
        elementwise_axis,
        keep_inputs=tuple(i for i, name in enumerate("ab") if name in keep),
        keep_outputs=(0,) if "y" in keep else (),
    )


def _atan2(s: Site) -> Partials:
    a, b = s.x(0), s.x(1)
    inverse = 1 / (a * a + b * b)
    u, v = a * inverse, b * inverse
    return Partials(v, -u, -2 * u * v, u * u - v * v, 2 * u * v)


def _hypot(s: Site) -> Partials:
    y = s.y()
    u, v = s.x(0) / y, s.x(1) / y
    return Partials(u, v, v * v / y, -u * v / y, u * u / y)


def _log_add(unit: float) -> Callable[[Site], Partials]:
    def partials(s: Site) -> Partials:
        gap = unit * (s.x(0) - s.x(1))
        p, q = torch.sigmoid(gap), torch.sigmoid(-gap)
        bend = unit * p * q
        return Partials(p, q, bend, -bend, bend)

    return partials


def _x_log(shift: float) -> Callable[[Site], Partials]:
    """a·log(b + shift), zero where a is."""

    def partials(s: Site) -> Partials:
        a, b = operand(s, 0), operand(s, 1)
        like = a if isinstance(a, Tensor) else b
        assert isinstance(like, Tensor)
        a, b = torch.as_tensor(a, dtype=like.dtype), torch.as_tensor(b, dtype=like.dtype)
        inner = b + shift
        none = (a == 0) & (inner <= 0)
        inner = torch.where(none, 1.0, inner)
        ratio = a / inner
        return Partials(torch.where(none, 0.0, torch.log(inner)), ratio, None, 1 / inner, -ratio / inner)

    return partials


op(aten.atan2.default, binary(_atan2))
op(aten.hypot.default, binary(_hypot, keep="aby"))
op(aten.logaddexp.default, binary(_log_add(1.0)))
op(aten.logaddexp2.default, binary(_log_add(math.log(2))))
for _op in (aten.xlogy.Tensor, aten.xlogy.Scalar_Self, aten.xlogy.Scalar_Other):
    op(_op, binary(_x_log(0.0)))
for _op in (aten.special_xlog1py.default, aten.special_xlog1py.self_scalar, aten.special_xlog1py.other_scalar):
    op(_op, binary(_x_log(1.0)))


# -- piecewise linear ------------------------------------------------------------------------------------------------


def _quotient(mode: Callable[[Any], Tensor]) -> Callable[[Site], Partials]:
    """a − b·mode(a/b), the whole number held."""
    return lambda s: Partials(1.0, -mode(s.x(0) / operand(s, 1)))


def _copysign(s: Site) -> Partials:
    a = s.x(0)
    return Partials(torch.copysign(torch.ones_like(a), operand(s, 1)) * torch.sign(a), None)


def _larger(sign: float) -> Callable[[Site], Partials]:
    """fmax (1) and fmin (−1): a NaN never wins."""

    def partials(s: Site) -> Partials:
        a, b = s.x(0), s.x(1)
        first = (sign * (a - b) >= 0) | torch.isnan(b)
        return Partials(first.to(a.dtype), (~first).to(a.dtype))

    return partials


for _op in (aten.fmod.Tensor, aten.fmod.Scalar):
    op(_op, binary(_quotient(torch.trunc), curved=False), kinks=True)
for _op in (aten.remainder.Tensor, aten.remainder.Scalar):
    op(_op, binary(_quotient(torch.floor), curved=False), kinks=True)
for _op in (aten.copysign.Tensor, aten.copysign.Scalar):
    op(_op, binary(_copysign, curved=False), kinks=True)
op(aten.fmax.default, binary(_larger(1.0), curved=False), kinks=True)
op(aten.fmin.default, binary(_larger(-1.0), curved=False), kinks=True)

op(aten.ldexp.Tensor, torchs_formula(aten.ldexp.Tensor, elementwise_axis))


# -- limits that are tensors -----------------------------------------------------------------------------------------


def _limited(s: Site) -> Jet:
    """clamp with tensor limits: x, the lower or the upper limit, whichever is in force."""
    x = s.x(0)
    low = s.data(s.arg(1)) if s.arg(1) is not None else None
    high = s.data(s.arg(2)) if s.arg(2) is not None else None
    over = torch.zeros((), dtype=torch.bool, device=x.device) if high is None else (x > high)
    under = torch.zeros((), dtype=torch.bool, device=x.device) if low is None else (x < low)
    if low is not None and high is not None:
        over = over | (low > high)  # the upper limit is applied last
        under = under & ~over

    def pick(dx: Tensor | None, dlow: Tensor | None, dhigh: Tensor | None) -> Tensor | None:
        return add(mul((~(over | under)).to(x.dtype), dx), mul(under.to(x.dtype), dlow), mul(over.to(x.dtype), dhigh))

    return pick(s.d(0), s.d(1), s.d(2)), pick(s.dd(0), s.dd(1), s.dd(2))


def _limited_by(sign: float) -> Callable[[Site], Jet]:
    """clamp_max (1) and clamp_min (−1) with a tensor."""

    def jet(s: Site) -> Jet:
        out = (sign * (s.x(0) - s.x(1)) > 0).to(s.x(0).dtype)
        return add(mul(1 - out, s.d(0)), mul(out, s.d(1))), add(mul(1 - out, s.dd(0)), mul(out, s.dd(1)))

    return jet


op(aten.clamp.Tensor, Rule(Kind.LINEAR, _limited, elementwise_axis, keep_inputs=(0, 1, 2)), kinks=True)
# cosine_similarity keeps its norms off zero with it, in place and without gradients: above that limit, the identity
op(
    aten.clamp_min.Tensor,
    Rule(Kind.LINEAR, _limited_by(-1.0), elementwise_axis, keep_inputs=(0, 1)),
    kinks=True,
    guards=lambda node, written: True,
)
op(aten.clamp_max.Tensor, Rule(Kind.LINEAR, _limited_by(1.0), elementwise_axis, keep_inputs=(0, 1)), kinks=True)


# -- quotients -------------------------------------------------------------------------------------------------------


def _addcdiv(s: Site) -> Jet:
    # y = x + v·a/b; with q = a/b: q̇ = (ȧ − q ḃ)/b, q̈ = (ä − 2 q̇ ḃ − q b̈)/b
    scale, a, b = s.node.kwargs.get("value", 1), s.x(1), s.x(2)
    q = a / b
    top = add(s.d(1), mul(-1.0, mul(q, s.d(2))))
    dq = None if top is None else top / b
    top = add(s.dd(1), mul(-2.0, mul(dq, s.d(2))), mul(-1.0, mul(q, s.dd(2))))
    ddq = None if top is None else top / b
    return add(s.d(0), mul(scale, dq)), add(s.dd(0), mul(scale, ddq))


op(aten.addcdiv.default, Rule(Kind.NONLINEAR, _addcdiv, elementwise_axis, keep_inputs=(1, 2)))


def _divided(s: Site) -> Jet:
    """Division that rounds is constant almost everywhere; without a rounding mode it divides."""
    if s.node.kwargs.get("rounding_mode") is not None:
        return None, None
    a, b = s.x(0), operand(s, 1)
    q = a / b
    top = add(s.d(0), mul(-1.0, mul(q, s.d(1))))
    dq = None if top is None else top / b
    top = add(s.dd(0), mul(-2.0, mul(dq, s.d(1))), mul(-1.0, mul(q, s.dd(1))))
    return dq, None if top is None else top / b


for _op in (aten.div.Tensor_mode, aten.div.Scalar_mode):
    op(_op, Rule(Kind.NONLINEAR, _divided, elementwise_axis, keep_inputs=(0, 1)))
