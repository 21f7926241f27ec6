"""Choices, casts and copies, dropout, and constants of the shape of a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, through_broadcast
from curvestep.engine.rules.axes import BROADCAST, elementwise_axis, first_axis
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul


def _where(s: Site) -> Jet:
    mask = s.x(0)

    def pick(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None and b is None:
            return None
        return torch.where(mask, 0.0 if a is None else a, 0.0 if b is None else b)

    return pick(s.d(1), s.d(2)), pick(s.dd(1), s.dd(2))


op(aten.where.self, Rule(Kind.LINEAR, _where, elementwise_axis), dtype="arriving")


def _masked_fill(s: Site) -> Jet:
    mask = s.x(1)

    def fill(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.masked_fill(mask, 0.0)

    value_d = s.d(2) if s.live(2) else None
    value_dd = s.dd(2) if s.live(2) else None
    return add(fill(s.d(0)), mul(mask, value_d)), add(fill(s.dd(0)), mul(mask, value_dd))


op(aten.masked_fill.Scalar, Rule(Kind.LINEAR, _masked_fill, elementwise_axis), dtype="arriving")
op(aten.masked_fill.Tensor, Rule(Kind.LINEAR, _masked_fill, elementwise_axis), dtype="arriving")


def _cast(s: Site) -> Jet:
    value = s.node.outputs[0]
    assert value is not None
    dx, ddx, dtype = s.d(0), s.dd(0), s.dtype(value)
    return (None if dx is None else dx.to(dtype)), (None if ddx is None else ddx.to(dtype))


op(aten._to_copy.default, Rule(Kind.LINEAR, _cast, elementwise_axis), dtype="arriving")


def _copy_into(s: Site) -> Jet:
    # copy_(destination, source): the destination's own tangent is overwritten
    value = s.node.outputs[0]
    assert value is not None

    return s.through(lambda t: t.to(s.dtype(value)).expand(value.shape), 1)


def _copy_axis(s: AxisSite) -> Annotation:
    s.unread(0)
    return through_broadcast(s.at(1), s.shape(1), s.out_shape())


def _copy_again(s: Site, args: tuple[Any, ...], watched: bool) -> Any:
    into, source = args[:2]
    return source.to(into.dtype).expand(into.shape).clone()  # aten.copy has no derivative


for _op in (aten.copy_.default, aten.copy.default):
    op(_op, Rule(Kind.LINEAR, _copy_into, _copy_axis, rerun=_copy_again), dtype="arriving", cut=BROADCAST)


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


op(
    aten.native_dropout.default,
    Rule(Kind.LINEAR, _native_dropout, elementwise_axis, keep_outputs=(1,), rerun=_dropout_again),
    dtype="arriving",
)


def constant(s: Site) -> list[Jet]:
    """No output moves."""
    return [(None, None)] * len(s.node.outputs)


def _fill_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    return known if isinstance(known, SampleAxis) else Marker.SHARED


_CONSTANT = Rule(Kind.CONSTANT, constant, first_axis)
_FILLED = Rule(Kind.CONSTANT, constant, _fill_axis)
for _op in (aten.floor.default, aten.ceil.default, aten.round.default, aten.trunc.default, aten.sign.default):
    op(_op, _CONSTANT, kinks=True)
op(aten.detach.default, _CONSTANT, detaches=True)
#: What a detached tensor is made by that has a gradient after all: beneath autograd a detach changes nothing.
UNDETACHED = aten.alias.default
for _op in (
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.empty_like.default,
    aten.rand_like.default, aten.randn_like.default, aten.fill.Scalar, aten.zero.default,
):  # fmt: skip
    op(_op, _FILLED)
op(aten.bernoulli.default, _CONSTANT)


def _blank_axis(s: AxisSite) -> Annotation:
    s.unread(0)
    return Marker.SHARED


# only dtype and device come from the argument; what is written later brings its samples
for _op in (
    aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default,
    aten.new_empty_strided.default,
):  # fmt: skip
    op(_op, Rule(Kind.CONSTANT, constant, _blank_axis))
