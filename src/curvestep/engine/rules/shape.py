"""Views, reshapes, cuts and joins: linear, so a tangent goes the way of its tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.samples import (
    Annotation,
    Marker,
    SampleAxis,
    through_permute,
    through_view,
)
from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, register, same_axis

aten = torch.ops.aten


def linear_in_first(op: Any, axis: Callable[[AxisSite], Any], apply: Callable[..., Any] | None = None) -> None:
    """Enter an operation that is linear in its first argument: its tangents go through the operation itself."""
    run = apply or op

    def jet(s: Site) -> list[Jet]:
        rest, options = s.node.args[1:], s.node.kwargs

        def through(t: Tensor | None) -> list[Tensor | None]:
            if t is None:
                return [None] * len(s.node.outputs)
            out = run(t, *rest, **options)
            return list(out) if isinstance(out, (tuple, list)) else [out]

        return list(zip(through(s.d(0)), through(s.dd(0)), strict=True))

    register(op, Rule(Kind.LINEAR, jet, axis))


# -- reshapes -------------------------------------------------------------------------------------------------------


def _view_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    return through_view(known, s.shape(0), s.out_shape(), s.batch) if isinstance(known, SampleAxis) else known


def _reshape(t: Tensor, shape: Any) -> Tensor:
    return t.reshape(shape)


for _op in (aten.view.default, aten._unsafe_view.default, aten.reshape.default):
    linear_in_first(_op, _view_axis, _reshape)
linear_in_first(aten._reshape_alias.default, _view_axis, lambda t, shape, stride: t.reshape(shape))
linear_in_first(aten.flatten.using_ints, _view_axis)
linear_in_first(aten.squeeze.default, _view_axis)
linear_in_first(aten.squeeze.dim, _view_axis)
linear_in_first(aten.squeeze.dims, _view_axis)
for _op in (aten.clone.default, aten.contiguous.default, aten.alias.default, aten.lift_fresh.default,
            aten.lift_fresh_copy.default):  # fmt: skip
    linear_in_first(_op, same_axis, lambda t, *args, **options: t)


def _unsqueeze_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    at = s.arg(1) % (len(s.shape(0)) + 1)
    return SampleAxis(known.dim + (at <= known.dim), known.outer, known.inner)


linear_in_first(aten.unsqueeze.default, _unsqueeze_axis)


def _permute_axis(order: Callable[[AxisSite], list[int]]) -> Callable[[AxisSite], Annotation]:
    def axis(s: AxisSite) -> Annotation:
        known = s.at(0)
        return through_permute(known, order(s)) if isinstance(known, SampleAxis) else known

    return axis


def _swapped(s: AxisSite) -> list[int]:
    order = list(range(len(s.shape(0))))
    a, b = s.arg(1), s.arg(2)
    order[a], order[b] = order[b], order[a]
    return order


linear_in_first(aten.permute.default, _permute_axis(lambda s: list(s.arg(1))))
linear_in_first(aten.transpose.int, _permute_axis(_swapped))
linear_in_first(aten.t.default, _permute_axis(lambda s: list(range(len(s.shape(0))))[::-1]))


def _expand_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    return SampleAxis(known.dim + len(s.out_shape()) - len(s.shape(0)), known.outer, known.inner)


linear_in_first(aten.expand.default, _expand_axis, lambda t, size, **options: t.expand(size))


def _repeat_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    lead = len(s.arg(1)) - len(s.shape(0))
    times = s.arg(1)[known.dim + lead]
    return SampleAxis(known.dim + lead, known.outer * times, known.inner)


linear_in_first(aten.repeat.default, _repeat_axis)


# -- cuts -------------------------------------------------------------------------------------------------------------


def _cut_axis(s: AxisSite) -> list[Annotation]:
    """Slices along another axis keep the samples; a slice of the samples keeps them only if it is whole copies."""
    known = s.at(0)
    out: list[Annotation] = []
    for value in s.node.outputs:
        if value is None or not isinstance(known, SampleAxis):
            out.append(known)
            continue
        size, was = value.shape[known.dim], s.shape(0)[known.dim]
        if size == was:
            out.append(known)
        elif known.inner == 1 and size % s.batch == 0 and _aligned(s):
            out.append(SampleAxis(known.dim, size // s.batch, 1))
        else:
            out.append(Marker.LOST)
    return out


def _aligned(s: AxisSite) -> bool:
    """Whether a cut along the samples starts at a multiple of the batch with unit stride."""
    if s.node.op is aten.slice.Tensor:
        return (s.arg(2) or 0) % s.batch == 0 and s.arg(4, 1) == 1
    if s.node.op in (aten.split.Tensor, aten.unsafe_split.Tensor):
        return s.arg(1) % s.batch == 0
    return all(size % s.batch == 0 for size in s.arg(1))


def _removed_axis(s: AxisSite) -> list[Annotation]:
    """`select` and `unbind` remove one axis."""
    known = s.at(0)
    if isinstance(known, SampleAxis):
        gone = s.arg(1, 0) % len(s.shape(0))
        known = (
            Marker.LOST if gone == known.dim else SampleAxis(known.dim - (gone < known.dim), known.outer, known.inner)
        )
    return [known] * len(s.node.outputs)


linear_in_first(aten.slice.Tensor, _cut_axis)
linear_in_first(aten.narrow.default, _cut_axis)
linear_in_first(aten.split.Tensor, _cut_axis)
linear_in_first(aten.unsafe_split.Tensor, _cut_axis)
linear_in_first(aten.unsafe_split_with_sizes.default, _cut_axis)
linear_in_first(aten.split_with_sizes.default, _cut_axis)
linear_in_first(aten.select.int, _removed_axis)
linear_in_first(aten.unbind.int, _removed_axis)


def _tril_axis(s: AxisSite) -> Annotation:
    return s.at(0)


linear_in_first(aten.tril.default, _tril_axis)
linear_in_first(aten.triu.default, _tril_axis)


def _diagonal_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    rank = len(s.shape(0))
    gone = {s.option(2, "dim1", 0) % rank, s.option(3, "dim2", 1) % rank}
    if known.dim in gone:
        return Marker.LOST
    return SampleAxis(known.dim - sum(g < known.dim for g in gone), known.outer, known.inner)


linear_in_first(aten.diagonal.default, _diagonal_axis)


# -- order -----------------------------------------------------------------------------------------------------------


def _moved_axis(s: AxisSite) -> Annotation:
    """`flip` and `roll` along the samples permute them; along other axes they do not matter."""
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    rank = len(s.shape(0))
    dims = s.arg(1) if s.node.op is aten.flip.default else s.arg(2, [])
    touched = {d % rank for d in dims} if dims else set(range(rank))
    return Marker.LOST if known.dim in touched else known


linear_in_first(aten.flip.default, _moved_axis)
linear_in_first(aten.roll.default, _moved_axis)


# -- padding ---------------------------------------------------------------------------------------------------------


def _padded_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    return known if s.shape(0)[known.dim] == s.out_shape()[known.dim] else Marker.LOST


def _constant_pad(t: Tensor, pad: Any, value: float = 0.0) -> Tensor:
    return aten.constant_pad_nd(t, pad, 0.0)


linear_in_first(aten.constant_pad_nd.default, _padded_axis, _constant_pad)
for _kind in ("reflection_pad", "replication_pad"):
    for _n in (1, 2, 3):
        linear_in_first(getattr(aten, f"{_kind}{_n}d").default, _padded_axis)


# -- joins -----------------------------------------------------------------------------------------------------------


def _joined(s: Site, join: Callable[[list[Tensor]], Tensor]) -> Jet:
    values = s.arg(0)

    def gather(tangents: list[Tensor | None]) -> Tensor | None:
        like = next((t for t in tangents if t is not None), None)
        if like is None:
            return None
        return join([like.new_zeros(v.shape) if t is None else t for v, t in zip(values, tangents, strict=True)])

    return gather([s.first(v) for v in values]), gather([s.second(v) for v in values])


def _cat_axis(s: AxisSite) -> Annotation:
    values = s.arg(0)
    rank = len(s.out_shape())
    dim = s.arg(1, 0) % rank
    known = [s.of(v) for v in values if math.prod(v.shape) or len(v.shape) == rank]
    named = [k for k in known if isinstance(k, SampleAxis)]
    if Marker.LOST in known:
        return Marker.LOST
    if not named:
        return Marker.SUMMED if Marker.SUMMED in known else Marker.SHARED
    first = named[0]
    if any((k.dim, k.inner) != (first.dim, first.inner) for k in named):
        return Marker.LOST
    if dim == first.dim:
        if first.inner == 1 and len(named) == len(known):
            return SampleAxis(dim, sum(k.outer for k in named), 1)
        return Marker.LOST
    return first if all(k.outer == first.outer for k in named) else Marker.LOST


register(aten.cat.default, Rule(Kind.LINEAR, lambda s: _joined(s, lambda ts: torch.cat(ts, s.arg(1, 0))), _cat_axis))


def _stack_axis(s: AxisSite) -> Annotation:
    known = [s.of(v) for v in s.arg(0)]
    named = [k for k in known if isinstance(k, SampleAxis)]
    if not named:
        return known[0]
    if Marker.LOST in known or any(k != named[0] for k in named):
        return Marker.LOST
    at = s.arg(1, 0) % len(s.out_shape())
    first = named[0]
    return SampleAxis(first.dim + (at <= first.dim), first.outer, first.inner)


register(
    aten.stack.default, Rule(Kind.LINEAR, lambda s: _joined(s, lambda ts: torch.stack(ts, s.arg(1, 0))), _stack_axis)
)
