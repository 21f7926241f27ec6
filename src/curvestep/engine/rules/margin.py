"""Margin losses and the logistic one: functions of scores and labels, split over the samples before they are summed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Reduction, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.rules.loss import MEAN, NONE, of_input
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site, Spread
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul


def _soft_margin(s: Site) -> tuple[Tensor, Tensor]:
    # log(1 + exp(−t x))
    x, t = s.x(0), s.x(1)
    p = torch.sigmoid(-t * x)
    return -t * p, t * t * p * (1 - p)


op(aten.soft_margin_loss.default, of_input(_soft_margin, 2, (0, 1)), reduces=Reduction(2))


def _finished(first: Tensor | None, second: Tensor | None, reduction: int, classes: int) -> Jet:
    """Mean over classes of per-class terms of shape (samples, classes) or (classes,), then the reduction."""

    def each(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.sum(-1) / classes

    if reduction == NONE:
        return each(first), each(second)
    out = each(first)
    rows = 1 if first is None or first.dim() < 2 else first.shape[0]
    if first is None and second is not None and second.dim() == 2:
        rows = second.shape[0]
    scale = 1 / rows if reduction == MEAN else 1.0
    total = None if out is None else out.sum() * scale
    return total, None if second is None else Spread(second * (scale / classes), 0)


def _class_axis(reduction_at: int) -> Callable[[AxisSite], list[Annotation]]:
    """The loss is one number a sample or reduced; what else comes out has the shape of the labels."""

    def axis(s: AxisSite) -> list[Annotation]:
        known = merge([s.at(0), s.at(1)])
        reduced = isinstance(known, SampleAxis) and s.arg(reduction_at, MEAN) != NONE
        if isinstance(known, SampleAxis) and (known.dim != 0 or len(s.shape(0)) < 2 or (reduced and s.at(0) != known)):
            known = Marker.LOST
            reduced = False
        return [Marker.SUMMED if reduced else known, known][: len(s.node.outputs)]

    return axis


def _multi_margin(s: Site) -> Jet:
    """Σ_{j ≠ y} w_y max(0, m − x_y + x_j)^p / classes."""
    x, label, power, margin = s.x(0), s.x(1), s.arg(2, 1), s.arg(3, 1)
    weight = s.data(s.arg(4)) if s.arg(4) is not None else None
    label = label.reshape(-1, 1) if x.dim() == 2 else label.reshape(1)

    def gap(t: Tensor | None) -> Tensor | None:
        return None if t is None else t - t.gather(-1, label)

    z = gap(x) + margin  # type: ignore[operator]
    active = (z > 0).to(x.dtype).scatter(-1, label, 0.0).detach()
    if weight is not None:
        active = active * weight[label]
    dz, ddz = gap(s.d(0)), gap(s.dd(0))
    if power == 1:
        first, second = mul(active, dz), mul(active, ddz)
    else:
        first = mul(2 * active * z, dz)
        second = add(mul(2 * active * z, ddz), None if dz is None else 2 * active * dz * dz)
    return _finished(first, second, s.arg(5, MEAN), x.shape[-1])


op(
    aten.multi_margin_loss.default,
    Rule(Kind.NONLINEAR, _multi_margin, _class_axis(5), keep_inputs=(0,)),
    kinks=True,
    reduces=Reduction(5),
)


def _multilabel_margin(s: Site) -> list[Jet]:
    """Σ over labels y and non-labels i of max(0, 1 − x_y + x_i) / classes: piecewise linear, by autograd's gradient."""
    x, target, reduction = s.x(0).detach(), s.x(1), s.arg(2, MEAN)
    ones = x.new_ones(x.shape[:-1])
    if x.is_meta:  # a cut is checked without data, for which this kernel has no version
        slope = torch.zeros_like(x)
    else:
        slope = aten.multilabel_margin_loss_backward.default(ones, x, target, NONE, s.y(1)) * x.shape[-1]
    return [_finished(mul(slope, s.d(0)), mul(slope, s.dd(0)), reduction, x.shape[-1]), (None, None)]


op(
    aten.multilabel_margin_loss_forward.default,
    Rule(Kind.LINEAR, _multilabel_margin, _class_axis(2), keep_inputs=(0,), keep_outputs=(1,)),
    kinks=True,
    reduces=Reduction(2),
)
