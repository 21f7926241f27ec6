"""Complex numbers: their real views, conjugation, modulus and angle.

A tangent of a complex tensor is complex, and autograd's cotangent of it is the conjugate one, so a second-order term is
paired as Re(conj(x̂)·ÿ). Holomorphic functions need no rule of their own: f′ and f″ serve complex arguments as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules.axes import elementwise_axis, first_axis, same_axis
from curvestep.engine.rules.forms import formula, jointly_linear, linear_in_first
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul

for _op in (aten.view_as_real.default, aten.view_as_complex.default):
    op(_op, linear_in_first(first_axis))
for _op in (
    aten._conj_physical.default, aten.conj_physical.default, aten.resolve_conj.default, aten.resolve_neg.default,
    aten.real.default,
):  # fmt: skip
    op(_op, linear_in_first(same_axis))
# The tangent of a lazily conjugated or negated view is not lazy: a real view of it may follow.
op(aten._conj.default, linear_in_first(same_axis, lambda t: t.conj().resolve_conj()))
op(aten._neg_view.default, linear_in_first(same_axis, lambda t: -t))
op(aten.complex.default, jointly_linear((0, 1), elementwise_axis))


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.complex(radius * torch.cos(angle), radius * torch.sin(angle))


op(aten.polar.default, formula(_polar, elementwise_axis))


def modulus_jet(x: Tensor, y: Tensor, dx: Tensor | None, ddx: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """y = |x|: y ẏ = Re(x̄ ẋ) and y ÿ = |ẋ|² + Re(x̄ ẍ) − ẏ²; zero where x is."""
    inverse = torch.where(y == 0, 0.0, 1 / torch.where(y == 0, 1.0, y))

    def along(t: Tensor | None) -> Tensor | None:
        return None if t is None else (x.conj() * t).real * inverse

    dy = along(dx)
    bend = None if dx is None or dy is None else ((dx.conj() * dx).real - dy * dy) * inverse
    return dy, add(along(ddx), bend)


def _modulus(s: Site) -> Jet:
    x = s.x(0)
    if x.is_complex():
        return modulus_jet(x, x.abs(), s.d(0), s.dd(0))
    sign = torch.sign(x)
    return mul(sign, s.d(0)), mul(sign, s.dd(0))


op(aten.abs.default, Rule(Kind.NONLINEAR, _modulus, elementwise_axis, keep_inputs=(0,)), kinks=True)


def _sign(s: Site) -> Jet:
    # x/|x|: constant for real x
    x = s.x(0)
    if not x.is_complex():
        return None, None
    y = x.abs()
    n = s.y()
    dx, ddx = s.d(0), s.dd(0)
    dr, ddr = modulus_jet(x, y, dx, ddx)
    # n r = x: ṅ r = ẋ − n ṙ, n̈ r = ẍ − 2 ṅ ṙ − n r̈
    top = add(dx, mul(-1.0, mul(n, dr)))
    dn = None if top is None else top / y
    top = add(ddx, mul(-2.0, mul(dn, dr)), mul(-1.0, mul(n, ddr)))
    return dn, None if top is None else top / y


op(aten.sgn.default, Rule(Kind.NONLINEAR, _sign, elementwise_axis, keep_inputs=(0,), keep_outputs=(0,)), kinks=True)


def _angle(s: Site) -> Jet:
    # log x = log|x| + iφ: φ̇ = Im(ẋ/x), φ̈ = Im(ẍ/x − (ẋ/x)²); a real number keeps its angle
    x = s.x(0)
    if not x.is_complex():
        return None, None
    dx, ddx = s.d(0), s.dd(0)
    ratio = None if dx is None else dx / x
    bend = None if ddx is None else ddx / x
    second = add(bend, None if ratio is None else -ratio * ratio)
    return None if ratio is None else ratio.imag, None if second is None else second.imag


op(aten.angle.default, Rule(Kind.NONLINEAR, _angle, elementwise_axis, keep_inputs=(0,)))
