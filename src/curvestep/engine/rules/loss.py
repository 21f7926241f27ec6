"""The losses that arrive as one operation. A reduced one is split over the samples before its sum (`Spread`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import MEAN, NONE, Kind, Reduction, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge, through_broadcast
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site, Spread
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul

# -- negative log-likelihood: linear in its input --------------------------------------------------------------------


def _nll(forward: Any, backward: Any) -> Rule:
    """The weighted sum or mean of what is picked: linear in its input."""

    def jet(s: Site) -> list[Jet]:
        target, weight, reduction, ignore = s.x(1), s.arg(2), s.arg(3), s.arg(4)
        weight = None if weight is None else s.data(weight)
        dx, ddx = s.d(0), s.dd(0)

        def read(t: Tensor) -> Tensor:
            return forward(t.contiguous(), target, weight, reduction, ignore)[0]  # the kernels of images insist

        first = None if dx is None else read(dx)
        second: Tensor | Spread | None = None
        if ddx is not None:
            if reduction == NONE:
                second = read(ddx)
            else:
                one = ddx.new_ones(())
                pull = backward(one, ddx.contiguous(), target, weight, reduction, ignore, s.y(1))
                second = Spread(pull * ddx, 0)
        return [(first, second), (None, None)]

    def axis(s: AxisSite) -> list[Annotation]:
        known, labels = s.at(0), s.at(1)
        if isinstance(labels, SampleAxis):  # as long as the first axis of what they pick from
            known = merge([known, labels]) if labels.dim == 0 and (s.arg(3) == NONE or known == labels) else Marker.LOST
        elif labels is not Marker.SHARED:
            known = Marker.LOST
        if s.arg(3) != NONE:
            out = Marker.SUMMED if isinstance(known, SampleAxis) else known
        else:
            out = known if not isinstance(known, SampleAxis) or known.dim == 0 else Marker.LOST
        return [out, Marker.SHARED if labels is Marker.SHARED else Marker.SUMMED]  # the weights of all labels

    return Rule(Kind.LINEAR, jet, axis, keep_outputs=(1,))


for _op, _backward in (
    (aten.nll_loss_forward.default, aten.nll_loss_backward.default),
    (aten.nll_loss2d_forward.default, aten.nll_loss2d_backward.default),
):
    op(_op, _nll(_op, _backward), reduces=Reduction(3, weights=1))


# -- elementwise losses of an input and a target ---------------------------------------------------------------------

Bends = tuple[Tensor, "Tensor | float | None"]  # ∂f/∂(difference or input) and its derivative


def _reduced_axis(at: int) -> Callable[[AxisSite], Annotation]:
    def axis(s: AxisSite) -> Annotation:
        tensors = s.node.inputs
        shape = tuple(torch.broadcast_shapes(*[v.shape for v in tensors]))
        joined = merge([through_broadcast(s.of(v), v.shape, shape) for v in tensors])
        if s.arg(at, MEAN) == NONE or not isinstance(joined, SampleAxis):
            return joined
        # the terms are split over the samples by an input that lies as they do
        return Marker.SUMMED if any(v.shape == shape and s.of(v) == joined for v in tensors) else Marker.LOST

    return axis


def _finish(first: Tensor | None, second: Tensor | None, reduction: int, shape: torch.Size) -> Jet:
    """Apply the reduction to elementwise tangents."""
    if reduction == NONE:
        return first, second
    scale = 1 / max(math.prod(shape), 1) if reduction == MEAN else 1.0
    total = None if first is None else first.expand(shape).sum() * scale
    return total, None if second is None else Spread(second.expand(shape) * scale, 0)


def _of_difference(bends: Callable[[Site, Tensor], Bends]) -> Rule:
    """ℓ = f(x − y): both sides may move."""

    def jet(s: Site) -> Jet:
        difference = s.x(0) - s.x(1)
        slope, bend = bends(s, difference)
        d = add(s.d(0), mul(-1.0, s.d(1)))
        dd = add(s.dd(0), mul(-1.0, s.dd(1)))
        second = add(mul(slope, dd), None if bend is None or d is None else bend * d * d)
        return _finish(mul(slope, d), second, s.arg(2, MEAN), difference.shape)

    return Rule(Kind.NONLINEAR, jet, _reduced_axis(2), keep_inputs=(0, 1))


def _smooth_l1(s: Site, e: Tensor) -> Bends:
    beta = s.arg(3, 1.0)
    if beta == 0:
        return torch.sign(e), None
    near = e.abs() < beta
    return torch.where(near, e / beta, torch.sign(e)), near.to(e.dtype) / beta


def _huber(s: Site, e: Tensor) -> Bends:
    delta = s.arg(3, 1.0)
    near = e.abs() <= delta
    return torch.where(near, e, delta * torch.sign(e)), near.to(e.dtype)


op(aten.mse_loss.default, _of_difference(lambda s, e: (2 * e, 2.0)), reduces=Reduction(2))
op(aten.smooth_l1_loss.default, _of_difference(_smooth_l1), reduces=Reduction(2))
op(aten.huber_loss.default, _of_difference(_huber), reduces=Reduction(2))


def of_input(bends: Callable[[Site], Bends], at: int, inputs: tuple[int, ...]) -> Rule:
    """ℓ = f(x; target): only the input moves."""

    def jet(s: Site) -> Jet:
        if s.live(1):
            raise MissingRuleError(
                f"{s.node.name} has no rule for a target that carries a gradient; detach the target."
            )
        slope, bend = bends(s)
        dx, ddx = s.d(0), s.dd(0)
        second = add(mul(slope, ddx), None if bend is None or dx is None else bend * dx * dx)
        return _finish(mul(slope, dx), second, s.arg(at, MEAN), s.x(0).shape)

    return Rule(Kind.NONLINEAR, jet, _reduced_axis(at), keep_inputs=inputs)


def _weighted(s: Site, index: int, bends: Bends) -> Bends:
    if s.arg(index) is None:
        return bends
    w = s.x(index)
    slope, bend = bends
    return w * slope, None if bend is None else w * bend


_LEAST_SPREAD = 1e-12  # below this x (1 − x) torch's gradient divides by it, so that it stays finite at 0 and 1


def _bce(s: Site) -> Bends:
    x, t = s.x(0), s.x(1)
    spread = x * (1 - x)
    inside = t / (x * x) + (1 - t) / (1 - x) ** 2
    bend = torch.where(spread > _LEAST_SPREAD, inside, 1 / _LEAST_SPREAD)
    return _weighted(s, 2, ((x - t) / spread.clamp(min=_LEAST_SPREAD), bend))


def _bce_logits(s: Site) -> Bends:
    x, t = s.x(0), s.x(1)
    p = torch.sigmoid(x)
    if s.arg(3) is None:
        return _weighted(s, 2, (p - t, p * (1 - p)))
    positive = s.x(3)
    # (1 − t) x + (1 + (w − 1) t) softplus(−x)
    scale = 1 + (positive - 1) * t
    return _weighted(s, 2, ((1 - t) - scale * (1 - p), scale * p * (1 - p)))


op(aten.binary_cross_entropy.default, of_input(_bce, 3, (0, 1, 2)), reduces=Reduction(3))
op(aten.binary_cross_entropy_with_logits.default, of_input(_bce_logits, 4, (0, 1, 2, 3)), reduces=Reduction(4))
