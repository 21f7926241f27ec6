"""The less common activations of torch.nn; those with kinks have the derivative that holds almost everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules.axes import elementwise_axis, kept_unless
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.pointwise import Slopes, unary
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul


def _hardswish(s: Site) -> Slopes:
    # x·relu6(x + 3)/6
    x = s.x(0)
    inside = (x > -3) & (x < 3)
    return torch.where(inside, x / 3 + 0.5, (x >= 3).to(x.dtype)), inside.to(x.dtype) / 3


def _hardsigmoid(s: Site) -> Slopes:
    x = s.x(0)
    return ((x > -3) & (x < 3)).to(x.dtype) / 6, None


def _celu(s: Site) -> Slopes:
    x, alpha = s.x(0), s.arg(1, 1.0)
    grown = torch.exp(x.clamp(max=0) / alpha)
    positive = x > 0
    return torch.where(positive, 1.0, grown), torch.where(positive, 0.0, grown / alpha)


def _outside(s: Site) -> Slopes:
    x, bound = s.x(0), s.arg(1, 0.5)
    return ((x > bound) | (x < -bound)).to(x.dtype), None


op(aten.hardswish.default, unary(_hardswish, keep="x"), kinks=True)
op(aten.hardsigmoid.default, unary(_hardsigmoid, keep="x", curved=False), kinks=True)
op(aten.celu.default, unary(_celu, keep="x"))
op(aten.softshrink.default, unary(_outside, keep="x", curved=False), kinks=True)
op(aten.hardshrink.default, unary(_outside, keep="x", curved=False), kinks=True)


# -- leaky by chance -------------------------------------------------------------------------------------------------


def _drawn(s: Site) -> tuple[Tensor, Tensor]:
    """Where the recorded input is negative, and the slope drawn for it: output over input."""
    x, y = s.node.args[0].data.detach(), s.node.outputs[0].data.detach()  # type: ignore[union-attr]
    negative = x < 0
    return negative, torch.where(negative, y / torch.where(negative, x, 1.0), 1.0)


def _rrelu(s: Site) -> Jet:
    _, slope = _drawn(s)
    return mul(slope, s.d(0)), mul(slope, s.dd(0))


def _rrelu_again(s: Site, args: tuple[Any, ...], watched: bool) -> Tensor:
    """With the recorded slopes; elements whose sign was positive then have none, and take their mean."""
    x, lower, upper = args[0], s.arg(2, 1 / 8), s.arg(3, 1 / 3)
    negative, slope = _drawn(s)
    return torch.where(x < 0, x * torch.where(negative, slope, 0.5 * (lower + upper)), x)


op(
    aten.rrelu_with_noise.default,
    Rule(Kind.LINEAR, _rrelu, elementwise_axis, keep_inputs=(0,), keep_outputs=(0,), rerun=_rrelu_again),
    kinks=True,
)


def _prelu(s: Site) -> Jet:
    # y = x above zero, w·x below
    x, w = s.x(0), s.x(1) if s.d(0) is not None or s.dd(0) is not None else None
    positive = x > 0

    def below(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.where(positive, 0.0, t)

    def through(t: Tensor | None) -> Tensor | None:
        return None if t is None or w is None else torch.where(positive, t, w * t)

    first = add(through(s.d(0)), below(mul(x, s.d(1))))
    return first, add(through(s.dd(0)), below(mul(x, s.dd(1))), below(mul(2.0, mul(s.d(1), s.d(0)))))


op(
    aten._prelu_kernel.default,
    Rule(Kind.MULTILINEAR, _prelu, elementwise_axis, factors=(0, 1), keep_inputs=(0,)),
    kinks=True,
)


def _glu(s: Site) -> Jet:
    # y = a σ(b) for the two halves a, b of x
    dim = s.arg(1, -1)
    a, b = s.x(0).chunk(2, dim)
    gate = torch.sigmoid(b)
    slope = gate * (1 - gate)
    bend = slope * (1 - 2 * gate)
    da, db = (None, None) if s.d(0) is None else s.d(0).chunk(2, dim)  # type: ignore[union-attr]
    dda, ddb = (None, None) if s.dd(0) is None else s.dd(0).chunk(2, dim)  # type: ignore[union-attr]
    first = add(mul(gate, da), mul(a * slope, db))
    curve = None if da is None or db is None else 2 * slope * da * db + a * bend * db * db
    return first, add(mul(gate, dda), mul(a * slope, ddb), curve)


op(aten.glu.default, Rule(Kind.NONLINEAR, _glu, kept_unless(lambda s: [s.arg(1, -1)]), keep_inputs=(0,)))
