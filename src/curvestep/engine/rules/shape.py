"""Views, reshapes, cuts and joins: linear, so a tangent goes the way of its tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Cut, Kind, NotCut, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, through_permute, through_view
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.axes import by_broadcast, first_axis, same_axis
from curvestep.engine.rules.forms import linear_in_first
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op

# -- reshapes -------------------------------------------------------------------------------------------------------


def _view_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    return through_view(known, s.shape(0), s.out_shape(), s.batch) if isinstance(known, SampleAxis) else known


def _reshape(t: Tensor, shape: Any, stride: Any = None) -> Tensor:
    return t.reshape(shape)


def _reshaped_again(s: Site, args: tuple[Any, ...], watched: bool) -> Tensor:
    return args[0].reshape(args[1])  # a replayed tensor may be laid out in another order than the recorded one


def _of_output(args: list[Any], out: tuple[int, ...], narrowed: Any) -> list[Any]:
    """The size that is given is that of the output."""
    return [args[0], list(out), *args[2:]]


_SIZED = Cut(sizes=_of_output)
_VIEW = replace(linear_in_first(_view_axis, _reshape), rerun=_reshaped_again)
for _op in (aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default):
    op(_op, _VIEW, dtype="arriving", cut=_SIZED)
op(aten.reshape.default, linear_in_first(_view_axis, _reshape), dtype="arriving", cut=_SIZED)
op(aten.flatten.using_ints, linear_in_first(_view_axis), dtype="arriving")
op(aten.squeeze.default, linear_in_first(_view_axis), dtype="arriving")
op(aten.squeeze.dim, linear_in_first(_view_axis), dtype="arriving")
op(aten.squeeze.dims, linear_in_first(_view_axis), dtype="arriving")
_UNCHANGED = linear_in_first(same_axis, lambda t, *args, **options: t)
for _op in (aten.contiguous.default, aten.alias.default, aten.lift_fresh.default):
    op(_op, _UNCHANGED, dtype="arriving")
op(aten.clone.default, _UNCHANGED, dtype="arriving", writes_out=True)
op(aten.lift_fresh_copy.default, _UNCHANGED)


def _unsqueeze_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    at = s.arg(1) % (len(s.shape(0)) + 1)
    return SampleAxis(known.dim + (at <= known.dim), known.outer, known.inner)


op(aten.unsqueeze.default, linear_in_first(_unsqueeze_axis), dtype="arriving")


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


op(aten.permute.default, linear_in_first(_permute_axis(lambda s: list(s.arg(1)))), dtype="arriving")
op(aten.transpose.int, linear_in_first(_permute_axis(_swapped)), dtype="arriving")
op(aten.t.default, linear_in_first(_permute_axis(lambda s: list(range(len(s.shape(0))))[::-1])), dtype="arriving")


def _expand_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    return SampleAxis(known.dim + len(s.out_shape()) - len(s.shape(0)), known.outer, known.inner)


op(
    aten.expand.default,
    linear_in_first(_expand_axis, lambda t, size, **options: t.expand(size)),
    dtype="arriving",
    cut=_SIZED,
)


def _repeat_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    lead = len(s.arg(1)) - len(s.shape(0))
    times = s.arg(1)[known.dim + lead]
    return SampleAxis(known.dim + lead, known.outer * times, known.inner)


op(aten.repeat.default, linear_in_first(_repeat_axis), dtype="arriving")


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


op(aten.slice.Tensor, linear_in_first(_cut_axis), dtype="arriving", draws=True)
op(aten.narrow.default, linear_in_first(_cut_axis), dtype="arriving", draws=True)
op(aten.split.Tensor, linear_in_first(_cut_axis), dtype="arriving", draws=True)
op(aten.unsafe_split.Tensor, linear_in_first(_cut_axis), dtype="arriving")
op(aten.unsafe_split_with_sizes.default, linear_in_first(_cut_axis), dtype="arriving")
op(aten.split_with_sizes.default, linear_in_first(_cut_axis), dtype="arriving", draws=True)
op(aten.select.int, linear_in_first(_removed_axis), dtype="arriving", draws=True)
op(aten.unbind.int, linear_in_first(_removed_axis), dtype="arriving", draws=True)


def _by_place(node: Node, axes: Sequence[SampleAxis | None], batch: int) -> None:
    """Refuse a cut of the rows or columns of a triangle: how much of one is kept depends on its place."""
    del batch
    known = axes[0]
    if known is not None and known.dim >= len(node.inputs[0].shape) - 2:
        raise NotCut(f"{node.name} keeps of each sample what its place in the batch says")


op(aten.tril.default, linear_in_first(first_axis), dtype="arriving", cut=Cut(counts=_by_place))
op(aten.triu.default, linear_in_first(first_axis), dtype="arriving", cut=Cut(counts=_by_place))


def _diagonal_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    rank = len(s.shape(0))
    gone = {s.option(2, "dim1", 0) % rank, s.option(3, "dim2", 1) % rank}
    if known.dim in gone:
        return Marker.LOST
    return SampleAxis(known.dim - sum(g < known.dim for g in gone), known.outer, known.inner)


op(aten.diagonal.default, linear_in_first(_diagonal_axis), dtype="arriving")


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


op(aten.flip.default, linear_in_first(_moved_axis), dtype="arriving")
op(aten.roll.default, linear_in_first(_moved_axis), dtype="arriving")


# -- padding ---------------------------------------------------------------------------------------------------------


def _padded_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    return known if s.shape(0)[known.dim] == s.out_shape()[known.dim] else Marker.LOST


def _constant_pad(t: Tensor, pad: Any, value: float = 0.0) -> Tensor:
    return aten.constant_pad_nd.default(t, pad, 0.0)


op(aten.constant_pad_nd.default, linear_in_first(_padded_axis, _constant_pad), dtype="arriving")
for _kind in ("reflection_pad", "replication_pad"):
    for _n in (1, 2, 3):
        op(getattr(aten, f"{_kind}{_n}d").default, linear_in_first(_padded_axis))


# -- joins -----------------------------------------------------------------------------------------------------------


def joined(s: Site, join: Callable[[list[Tensor]], Tensor]) -> Jet:
    """The jets of a list of tensors that are joined to one; those that do not move are zeros."""
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


def _beside_cat(node: Node, out: SampleAxis, result: Value) -> Any:
    """Inputs that are joined along another axis than the samples lie under the output as they are."""
    joined = (node.args[1] if len(node.args) > 1 else 0) % len(result.shape)
    return by_broadcast(node, out, result) if joined != out.dim else None


op(
    aten.cat.default,
    Rule(Kind.LINEAR, lambda s: joined(s, lambda ts: torch.cat(ts, s.arg(1, 0))), _cat_axis),
    dtype="arriving",
    cut=Cut(aligned=_beside_cat),
)


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


op(
    aten.stack.default,
    Rule(Kind.LINEAR, lambda s: joined(s, lambda ts: torch.stack(ts, s.arg(1, 0))), _stack_axis),
    dtype="arriving",
)
