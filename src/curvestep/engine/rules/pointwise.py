"""Elementwise operations: one line each, f′ and f″ as functions of the input x or the output y.

Kinks have the derivative that holds almost everywhere, the one that autograd uses for the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.value import Node
from curvestep.engine.rules.axes import elementwise_axis
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import Arguments, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import mul

Slopes = tuple["Tensor | float", "Tensor | float | None"]  # f′, f″ (None: zero)


def unary(slopes: Callable[[Site], Slopes], *, keep: str, curved: bool = True) -> Rule:
    """y = f(x): ẏ = f′ ẋ, ÿ = f′ ẍ + f″ ẋ²."""

    def jet(site: Site) -> Jet:
        first, second = slopes(site)
        dx, ddx = site.d(0), site.dd(0)
        dy = mul(first, dx)
        if second is None or dx is None or site.first_only:
            return dy, mul(first, ddx)
        bend = (second * dx).mul_(dx)
        return dy, bend if ddx is None else bend.add_(first * ddx)

    return _elementwise(Kind.NONLINEAR if curved else Kind.LINEAR, jet, keep)


def _elementwise(kind: Kind, jet: Callable[[Site], Jet], keep: str) -> Rule:
    return Rule(
        kind, jet, elementwise_axis,
        keep_inputs=(0,) if "x" in keep else (), keep_outputs=(0,) if "y" in keep else (),
    )  # fmt: skip


def in_one_kernel(
    through: Callable[[Site, Tensor], Tensor], bend: Callable[[Site, Tensor, Tensor], Tensor] | None, *, keep: str
) -> Rule:
    """y = f(x) for which torch's own backward kernel gives f′ t in one go.

    Args:
        through: f′ t for a tangent t; in a replay autograd must know its derivative.
        bend: f″ ẋ² from ẋ and ẏ = f′ ẋ, as a new tensor; None where it is zero.
        keep: which of "x" and "y" are read.

    Returns:
        The rule.
    """

    def jet(site: Site) -> Jet:
        dx, ddx = site.d(0), site.dd(0)
        dy = None if dx is None else through(site, dx)
        second = None if ddx is None else through(site, ddx)
        if bend is None or dx is None or dy is None or site.first_only:
            return dy, second
        bent = bend(site, dx, dy)
        return dy, bent if second is None else bent.add_(second)

    return _elementwise(Kind.LINEAR if bend is None else Kind.NONLINEAR, jet, keep)


# -- smooth functions of one variable ---------------------------------------------------------------------------


# The kernels of gradients conjugate f′ where that is complex, and a tangent does not: the conjugate value undoes it.


def _tanh_through(s: Site, t: Tensor) -> Tensor:
    return aten.tanh_backward.default(t, s.y().conj())


def _sigmoid_through(s: Site, t: Tensor) -> Tensor:
    return aten.sigmoid_backward.default(t, s.y().conj())


def _tanh_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    return (dx * dy).mul_(s.y()).mul_(-2.0)  # f″ = −2 y f′


def _sigmoid_bend(s: Site, dx: Tensor, dy: Tensor) -> Tensor:
    bent = dx * dy
    return bent.addcmul_(bent, s.y(), value=-2.0)  # f″ = f′ (1 − 2y)


def _silu_through(s: Site, t: Tensor) -> Tensor:
    x = s.x(0)
    if not s.watched:
        return aten.silu_backward.default(t, x)
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
    return aten.gelu_backward.default(t, s.x(0), approximate=_gelu_kind(s))


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
    return aten.softplus_backward.default(t, s.x(0), s.arg(1, 1), s.arg(2, 20))


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


op(
    aten.tanh.default,
    in_one_kernel(_tanh_through, _tanh_bend, keep="y"),
    dtype="arriving",
)
op(
    aten.sigmoid.default,
    in_one_kernel(_sigmoid_through, _sigmoid_bend, keep="y"),
    dtype="arriving",
)
op(aten.silu.default, in_one_kernel(_silu_through, _silu_bend, keep="x"), dtype="arriving")
op(aten.gelu.default, in_one_kernel(_gelu_through, _gelu_bend, keep="x"), dtype="arriving")
op(aten.softplus.default, in_one_kernel(_softplus_through, _softplus_bend, keep="x"), dtype="arriving")
op(aten.elu.default, unary(_elu, keep="x"))
op(aten.mish.default, unary(_mish, keep="x"))
op(aten.log_sigmoid_forward.default, unary(_log_sigmoid, keep="x"))
op(aten.pow.Tensor_Scalar, unary(_power, keep="x"))
op(aten.exp.default, unary(_exp, keep="y"))
op(aten.exp2.default, unary(_exp2, keep="y"))
op(aten.expm1.default, unary(_expm1, keep="y"))
op(aten.log.default, unary(_log(1.0), keep="x"))
op(aten.log2.default, unary(_log(1 / math.log(2)), keep="x"))
op(aten.log10.default, unary(_log(1 / math.log(10)), keep="x"))
op(aten.log1p.default, unary(_log1p, keep="x"))
op(aten.sqrt.default, unary(_sqrt, keep="y"))
op(aten.rsqrt.default, unary(_rsqrt, keep="y"))
op(aten.reciprocal.default, unary(_reciprocal, keep="y"))
op(aten.sin.default, unary(lambda s: (torch.cos(s.x(0)), -s.y()), keep="xy"))
op(aten.cos.default, unary(lambda s: (-torch.sin(s.x(0)), -s.y()), keep="xy"))
op(aten.tan.default, unary(_tan, keep="y"))
op(aten.sinh.default, unary(lambda s: (torch.cosh(s.x(0)), s.y()), keep="xy"))
op(aten.cosh.default, unary(lambda s: (torch.sinh(s.x(0)), s.y()), keep="xy"))
op(aten.atan.default, unary(_atan, keep="x"))
op(aten.erf.default, unary(_erf, keep="x"))


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
    return aten.hardtanh_backward.default(t, s.x(0), s.arg(1, -1), s.arg(2, 1))


def _leaky(s: Site, t: Tensor) -> Tensor:
    return aten.leaky_relu_backward.default(t, s.x(0), s.arg(1, 0.01), False)


op(
    aten.relu.default,
    in_one_kernel(lambda s, t: aten.threshold_backward.default(t, s.y(), 0), None, keep="y"),
    dtype="arriving",
    kinks=True,
)
op(aten.leaky_relu.default, in_one_kernel(_leaky, None, keep="x"), dtype="arriving", kinks=True)
op(aten.hardtanh.default, in_one_kernel(_hardtanh, None, keep="x"), dtype="arriving", kinks=True)
op(
    aten.threshold.default,
    in_one_kernel(lambda s, t: aten.threshold_backward.default(t, s.x(0), s.arg(1)), None, keep="x"),
    dtype="arriving",
    kinks=True,
)


def _was_inside(node: Node, written: Tensor) -> bool:
    """Whether a clamp changed nothing, as where `gaussian_nll_loss` keeps variances off zero without gradients."""
    if type(written) is not Tensor:  # a tracer's, without numbers
        return False
    s = Arguments(node)
    low, high = s.option(1, "min"), s.option(2, "max")
    inside = torch.ones((), dtype=torch.bool, device=written.device)
    inside = inside if low is None else (written > low).all()
    return bool(inside if high is None else inside & (written < high).all())


op(
    aten.clamp.default,
    unary(lambda s: (_between(s, s.option(1, "min"), s.option(2, "max")), None), keep="x", curved=False),
    kinks=True,
    guards=_was_inside,
)
op(aten.clamp_min.default, unary(lambda s: (_between(s, s.arg(1), None), None), keep="x", curved=False), kinks=True)
op(aten.clamp_max.default, unary(lambda s: (_between(s, None, s.arg(1)), None), keep="x", curved=False), kinks=True)
op(aten.neg.default, unary(lambda s: (-1.0, None), keep="", curved=False), dtype="arriving")
