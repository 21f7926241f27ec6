"""Inverse, error, gamma and Bessel functions of one variable: f′ and f″ of each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules.axes import elementwise_axis
from curvestep.engine.rules.binary import Partials, binary
from curvestep.engine.rules.forms import torchs_formula
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.pointwise import Slopes, unary
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul

# -- inverse trigonometric and hyperbolic functions ------------------------------------------------------------------


def _inverse(root: Callable[[Tensor], Tensor], sign: float, bend: float) -> Callable[[Site], Slopes]:
    """f′ = sign·r and f″ = sign·bend·x r³, with r = root(x) = |…|^(−½)."""

    def slopes(s: Site) -> Slopes:
        x = s.x(0)
        r = root(x)
        return sign * r, sign * bend * x * r * r * r

    return slopes


def _acosh_root(x: Tensor) -> Tensor:
    # of a complex number, the root of the product lies on another branch than the product of the roots
    return (x - 1).rsqrt() * (x + 1).rsqrt() if x.is_complex() else (x * x - 1).rsqrt()


op(aten.asin.default, unary(_inverse(lambda x: (1 - x * x).rsqrt(), 1.0, 1.0), keep="x"))
op(aten.acos.default, unary(_inverse(lambda x: (1 - x * x).rsqrt(), -1.0, 1.0), keep="x"))
op(aten.asinh.default, unary(_inverse(lambda x: (1 + x * x).rsqrt(), 1.0, -1.0), keep="x"))
op(aten.acosh.default, unary(_inverse(_acosh_root, 1.0, -1.0), keep="x"))


def _atanh(s: Site) -> Slopes:
    x = s.x(0)
    slope = 1 / (1 - x * x)
    return slope, 2 * x * slope * slope


def _logit(s: Site) -> Slopes:
    x, eps = s.x(0), s.arg(1)
    slope = 1 / (x * (1 - x))
    bend = (2 * x - 1) * slope * slope
    if eps is None:
        return slope, bend
    inside = (x >= eps) & (x <= 1 - eps)
    return torch.where(inside, slope, 0.0), torch.where(inside, bend, 0.0)


op(aten.atanh.default, unary(_atanh, keep="x"))
op(aten.logit.default, unary(_logit, keep="x"))


# -- error functions and the normal distribution ---------------------------------------------------------------------


def _erfc(s: Site) -> Slopes:
    x = s.x(0)
    slope = -2 / math.sqrt(math.pi) * torch.exp(-x * x)
    return slope, -2 * x * slope


def _erfinv(s: Site) -> Slopes:
    y = s.y()
    slope = math.sqrt(math.pi) / 2 * torch.exp(y * y)
    return slope, 2 * y * slope * slope


def _erfcx(s: Site) -> Slopes:
    x, y = s.x(0), s.y()
    slope = 2 * x * y - 2 / math.sqrt(math.pi)
    return slope, 2 * y + 2 * x * slope


def _log_ndtr(s: Site) -> Slopes:
    x, y = s.x(0), s.y()
    slope = torch.exp(-0.5 * x * x - 0.5 * math.log(2 * math.pi) - y)  # density over distribution
    return slope, -slope * (x + slope)


def _ndtri(s: Site) -> Slopes:
    y = s.y()
    slope = math.sqrt(2 * math.pi) * torch.exp(0.5 * y * y)
    return slope, y * slope * slope


op(aten.erfc.default, unary(_erfc, keep="x"))
op(aten.erfinv.default, unary(_erfinv, keep="y"))
op(aten.special_erfcx.default, unary(_erfcx, keep="xy"))
op(aten.special_log_ndtr.default, unary(_log_ndtr, keep="xy"))
op(aten.special_ndtri.default, unary(_ndtri, keep="y"))
op(aten.special_entr.default, unary(lambda s: (-torch.log(s.x(0)) - 1, -1 / s.x(0)), keep="x"))


# -- gamma functions -------------------------------------------------------------------------------------------------


op(aten.lgamma.default, unary(lambda s: (torch.digamma(s.x(0)), torch.polygamma(1, s.x(0))), keep="x"))
op(aten.digamma.default, unary(lambda s: (torch.polygamma(1, s.x(0)), torch.polygamma(2, s.x(0))), keep="x"))


def _polygamma(s: Site) -> Jet:
    n, x = s.arg(0), s.x(1)
    slope = torch.polygamma(n + 1, x)
    dx = s.d(1)
    bend = None if dx is None else torch.polygamma(n + 2, x) * dx * dx
    return mul(slope, dx), add(mul(slope, s.dd(1)), bend)


op(aten.polygamma.default, Rule(Kind.NONLINEAR, _polygamma, elementwise_axis, keep_inputs=(1,)))


def _gamma_inc(s: Site) -> Partials:
    a, x = s.x(0), s.x(1)
    slope = torch.exp((a - 1) * torch.log(x) - x - torch.lgamma(a))
    return Partials(None, slope, bb=((a - 1) / x - 1) * slope)


op(aten.igamma.default, binary(_gamma_inc))
op(aten.mvlgamma.default, torchs_formula(aten.mvlgamma.default, elementwise_axis))


# -- sinc ------------------------------------------------------------------------------------------------------------

SINC_TERMS = 10  # (πx)²ᵏ/(2k+1)! falls below 1e-19 of the first term for |πx| ≤ 1


def _sinc(s: Site) -> Slopes:
    t = math.pi * s.x(0)
    near = t.abs() < 1  # the closed form cancels there
    far = torch.where(near, 1.0, t)
    y = torch.sin(far) / far
    first = (torch.cos(far) - y) / far
    second = -y - 2 * first / far
    small = torch.where(near, t, 0.0)
    square = small * small
    near_first, near_second = torch.zeros_like(t), torch.zeros_like(t)
    for k in range(SINC_TERMS, 0, -1):
        c = (-1.0) ** k / math.factorial(2 * k + 1)
        near_first = near_first * square + 2 * k * c
        near_second = near_second * square + 2 * k * (2 * k - 1) * c
    first = torch.where(near, near_first * small, first)
    return math.pi * first, math.pi**2 * torch.where(near, near_second, second)


op(aten.sinc.default, unary(_sinc, keep="x"))


# -- modified Bessel functions ---------------------------------------------------------------------------------------


def _bessel(x: Tensor, scaled: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """I₀, I₁, I₁/x and (I₁/x)′ = I₂/x, all times exp(−|x|) if scaled."""
    zeroth = torch.special.i0e(x) if scaled else torch.i0(x)
    first = torch.special.i1e(x) if scaled else torch.special.i1(x)
    near = x.abs() < 0.5  # the quotients cancel there: their series, to x¹⁴
    far = torch.where(near, 1.0, x)
    quarter = torch.where(near, x * x / 4, 0.0)
    ratio, bend = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(8, -1, -1):
        ratio = ratio * quarter + 0.5 / (math.factorial(k) * math.factorial(k + 1))
        bend = bend * quarter + 0.25 / (math.factorial(k) * math.factorial(k + 2))
    fade = torch.exp(-x.abs()) if scaled else torch.ones_like(x)
    quotient = torch.where(near, ratio * fade, first / far)
    return zeroth, first, quotient, torch.where(near, bend * x * fade, (zeroth - 2 * first / far) / far)


def _i0(s: Site) -> Slopes:
    zeroth, first, quotient, _ = _bessel(s.x(0), False)
    return first, zeroth - quotient


def _i1(s: Site) -> Slopes:
    # I₁′ = I₀ − I₁/x, and I₁″ = I₁ − (I₁/x)′
    zeroth, first, quotient, bend = _bessel(s.x(0), False)
    return zeroth - quotient, first - bend


def _i0e(s: Site) -> Slopes:
    x = s.x(0)
    sign = torch.sign(x)
    zeroth, first, quotient, _ = _bessel(x, True)
    return first - sign * zeroth, (zeroth - quotient) - 2 * sign * first + zeroth


def _i1e(s: Site) -> Slopes:
    x = s.x(0)
    sign = torch.sign(x)
    zeroth, first, quotient, bend = _bessel(x, True)
    slope = zeroth - quotient
    return slope - sign * first, (first - bend) - 2 * sign * slope + first


op(aten.i0.default, unary(_i0, keep="x"))
op(aten.special_i0e.default, unary(_i0e, keep="x"))
op(aten.special_i1.default, unary(_i1, keep="x"))
op(aten.special_i1e.default, unary(_i1e, keep="x"))


# -- linear, and almost everywhere linear ----------------------------------------------------------------------------


def _finite(s: Site) -> Slopes:
    return torch.isfinite(s.x(0)).to(s.x(0).dtype), None


op(aten.nan_to_num.default, unary(_finite, keep="x", curved=False), kinks=True)
op(aten.frac.default, unary(lambda s: (1.0, None), keep="", curved=False), kinks=True)
op(aten.deg2rad.default, unary(lambda s: (math.pi / 180, None), keep="", curved=False))
op(aten.rad2deg.default, unary(lambda s: (180 / math.pi, None), keep="", curved=False))
