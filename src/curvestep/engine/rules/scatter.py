"""Writing by index and reading by mask: linear in what is written and in what it is written into."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import Cut, Kind, NotCut, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.axes import Under, joined_axis, kept_unless, unnamed
from curvestep.engine.rules.forms import formula, jointly_linear, linear_in_first
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.owned import added, added_on_a_part
from curvestep.engine.rules.site import Arguments, AxisSite, Jet, Site
from curvestep.engine.rules.table import op


def _beside(*positions: int) -> Any:
    """Samples lie along an axis other than the indexed one (argument 1), in the target and in what is written."""
    meet = joined_axis(*positions)
    written = positions[-1]

    def axis(s: AxisSite) -> Annotation:
        if s.owners is not None and isinstance(s.arg(written), Value) and isinstance(s.at(written), SampleAxis):
            found = added(s, 0, s.arg(2), written)
            if found is not Marker.LOST:
                return found
        known = meet(s)
        if not isinstance(known, SampleAxis):
            return known
        whole = s.out_shape()[known.dim]
        same = all(not isinstance(s.at(i), SampleAxis) or s.shape(i)[known.dim] == whole for i in positions)
        along = s.arg(1) % max(len(s.out_shape()), 1) if isinstance(s.arg(1), int) else None
        return known if same and known.dim != along else Marker.LOST

    return axis


def _zero_value(op: Any) -> Any:
    """The operation with the constant that it writes replaced by zero."""
    return lambda t, dim, index, value, **options: op(t, dim, index, 0, **options)


def _into_own(op: Any) -> Any:
    """The operation, which keeps the strides of what it writes into, on a tensor whose elements lie apart."""
    # A tangent may be a view of overlapping windows where the value is a copy of them.
    return lambda t, *rest, **options: op(t.contiguous(), *rest, **options)


def _alongside(node: Node, out: SampleAxis, result: Value) -> Under:
    """What has as many axes as the result has the samples where that has them, whatever it was made from."""
    if isinstance(node.args[1], int) and node.args[1] % len(result.shape) == out.dim:
        raise NotCut(f"{node.name} writes along the samples")

    def under(v: Value) -> SampleAxis | None:
        if len(v.shape) != len(result.shape):
            return None
        if v.shape[out.dim] != result.shape[out.dim]:
            raise NotCut(f"{node.name} writes to some of the samples only")
        return out

    return under


def _alongside_cut(node: Node, out: SampleAxis, result: Value) -> Under:
    """`select_scatter`: what is written lacks the axis that is cut."""
    along = _dim_of_cut(Arguments(node), 2, len(result.shape))
    lower = replace(out, dim=out.dim - (along < out.dim))
    return lambda v: lower if v is node.args[1] else out


_ALONGSIDE = Cut(aligned=_alongside)
_INTO_ROWS = Cut(aligned=_alongside, renumbers=added_on_a_part)
op(aten.index_add.default, jointly_linear((0, 3), _beside(0, 3)), cut=_INTO_ROWS)
op(aten.index_copy.default, jointly_linear((0, 3), _beside(0, 3)), cut=_INTO_ROWS)
op(aten.scatter.src, jointly_linear((0, 3), _beside(0, 2, 3)), cut=_INTO_ROWS)
op(aten.scatter.value, jointly_linear((0,), _beside(0, 2), _zero_value(aten.scatter.value)), cut=_ALONGSIDE)
op(aten.scatter_add.default, jointly_linear((0, 3), _beside(0, 2, 3)), cut=_INTO_ROWS)
op(
    aten.index_fill.int_Scalar,
    jointly_linear((0,), _beside(0), _zero_value(aten.index_fill.int_Scalar)),
    cut=_ALONGSIDE,
)
op(aten.index_fill.int_Tensor, jointly_linear((0, 3), _beside(0)), cut=_ALONGSIDE)
for _op, _axis, _cut in (
    (aten.select_scatter.default, lambda s: _cut_in_axis(s, 2), Cut(aligned=_alongside_cut)),
    (aten.slice_scatter.default, lambda s: _cut_in_axis(s, 2), _ALONGSIDE),
    (aten.diagonal_scatter.default, unnamed, None),
):
    op(_op, jointly_linear((0, 1), _axis, _into_own(_op)), cut=_cut)
op(aten.masked_scatter.default, jointly_linear((0, 2), lambda s: s.at(0) if s.at(2) is Marker.SHARED else Marker.LOST))
op(aten.masked_select.default, jointly_linear((0,), unnamed))
op(aten.take.default, jointly_linear((0,), lambda s: s.at(1) if s.at(0) is Marker.SHARED else Marker.LOST))
op(aten.put.default, jointly_linear((0, 2), unnamed))


def _dim_of_cut(s: Arguments, dim_at: int, rank: int) -> int:
    return s.option(dim_at, "dim", 0) % max(rank, 1)


def _cut_in_axis(s: AxisSite, dim_at: int) -> Annotation:
    """`select_scatter` and `slice_scatter`: the cut is along argument `dim_at`, samples along another axis."""
    known = s.at(0)
    along = _dim_of_cut(s, dim_at, len(s.out_shape()))
    lower = s.at(1)
    if isinstance(lower, SampleAxis) and s.node.op is aten.select_scatter.default:
        lower = lower.at(lower.dim + (along <= lower.dim))
    if isinstance(known, SampleAxis) and isinstance(lower, SampleAxis):
        return known if known == lower and known.dim != along else Marker.LOST
    if isinstance(known, SampleAxis) or isinstance(lower, SampleAxis):
        named = known if isinstance(known, SampleAxis) else lower
        assert isinstance(named, SampleAxis)
        rest = lower if isinstance(known, SampleAxis) else known
        fits = s.out_shape()[named.dim] == named.outer * named.inner * named.count(s.batch)
        return named if rest is not Marker.LOST and named.dim != along and fits else Marker.LOST
    return known if lower is Marker.SHARED else lower


# -- advanced indexing on the left of an assignment ------------------------------------------------------------------


def _written(t: Tensor, indices: Any, values: Any, accumulate: bool = False, unsafe: bool = False) -> Tensor:
    return aten.index_put.default(t, indices, values, accumulate)


def _written_axis(s: AxisSite) -> Annotation:
    known, indices, values = s.at(0), s.arg(1), s.at(2)
    used = [i for i, v in enumerate(indices) if v is not None]
    mask = indices[0] if len(indices) == 1 else None
    if mask is not None and mask.dtype == torch.bool and not s.arg(2).shape:  # x[mask] = number
        return merge([known, s.of(mask), values])  # a mask lies under the first axes
    if not all([s.of(indices[i]) is Marker.SHARED for i in used]):
        return Marker.LOST
    if isinstance(known, SampleAxis) and used and min(used) > known.dim:
        if not isinstance(values, SampleAxis):
            return Marker.LOST if values is Marker.LOST else known
        width = max(len(indices[i].shape) for i in used)
        neighbours = used == list(range(used[0], used[0] + len(used)))
        rank = len(s.out_shape()) - len(used) + width
        whole = len(s.shape(2)) == rank and not any(indices[i].dtype == torch.bool for i in used)
        return known if neighbours and whole and values == known else Marker.LOST
    named = isinstance(known, SampleAxis) or isinstance(values, SampleAxis)
    return Marker.LOST if named else merge([known, values])


def _written_under(node: Node, out: SampleAxis, result: Value) -> Under:
    """A mask covers the first axes; any other index lies behind the samples, and what is written is broadcast."""
    target, indices, values = node.args[:3]
    used = [i for i, v in enumerate(indices) if v is not None]
    mask = indices[0] if indices[0] is not None and indices[0].dtype == torch.bool else None
    width = max(len(indices[i].shape) for i in used)
    first = used == list(range(used[0], used[0] + len(used)))
    dim = out.dim if first else out.dim + width  # of the samples in target[indices]
    rank = len(result.shape) - len(used) + width

    def under(v: Value) -> SampleAxis | None:
        if v is target:
            return out
        if v is mask:
            return out if out.dim < len(v.shape) else None
        if v is not values or not v.shape:
            return None
        if any(indices[i].dtype == torch.bool for i in used):
            raise NotCut(f"{node.name} writes where a mask says, and which values are whose is not known")
        at = dim - (rank - len(v.shape))
        return replace(out, dim=at) if at >= 0 and v.shape[at] == result.shape[out.dim] else None

    return under


_PUT = Cut(aligned=_written_under)
op(aten.index_put.default, jointly_linear((0, 2), _written_axis, _written), cut=_PUT)
op(aten._index_put_impl_.default, jointly_linear((0, 2), _written_axis, _written), cut=_PUT)
op(aten._unsafe_index.Tensor, jointly_linear((0,), unnamed, lambda t, indices: aten.index.Tensor(t, indices)))


def _filled(s: Site) -> Jet:
    # fill_(x, value): x's own tangent is overwritten
    shape = s.arg(0).shape

    return s.through(lambda t: t.expand(shape), 1)


def _filled_axis(s: AxisSite) -> Annotation:
    s.unread(0)
    return s.at(1)


op(aten.fill.Tensor, Rule(Kind.LINEAR, _filled, _filled_axis))


# -- reductions into buckets -----------------------------------------------------------------------------------------


def _reduce_mean(t: Tensor, dim: int, index: Tensor, source: Tensor, include_self: bool) -> Tensor:
    count = torch.zeros_like(t, requires_grad=False).detach()
    ones = torch.ones_like(source).detach()
    count = (count + 1 if include_self else count).scatter_add(dim, index, ones)
    if not include_self:
        t = t.scatter(dim, index, 0.0)
    return t.scatter_add(dim, index, source) / count.clamp(min=1)


def _scatter_reduce(
    t: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`scatter_reduce` by scatter_add; amax and amin share the derivative among ties, as autograd does."""
    if reduce == "sum":
        return (t if include_self else t.scatter(dim, index, 0.0)).scatter_add(dim, index, source)
    if reduce == "mean":
        return _reduce_mean(t, dim, index, source, include_self)
    if reduce in {"amax", "amin"}:
        best = t.detach().scatter_reduce(dim, index, source.detach(), reduce, include_self=include_self)
        hit = (source.detach() == best.gather(dim, index)).to(t.dtype)
        own = (t.detach() == best).to(t.dtype)
        if not include_self:
            own = own * torch.ones_like(t).detach().scatter(dim, index, 0.0)
        count = own.scatter_add(dim, index, hit)
        return (t * own).scatter_add(dim, index, source * hit) / count.clamp(min=1)
    raise MissingRuleError(
        f"A derivative rule for scatter_reduce with reduce={reduce!r} was needed, but there is none. "
        "Use sum, mean, amax or amin, or multiply by exponentials of a sum of logarithms."
    )


op(aten.scatter_reduce.two, formula(_scatter_reduce, _beside(0, 2, 3)), kinks=True, cut=_INTO_ROWS)


def _index_reduce(
    t: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`index_reduce`: `scatter_reduce` with the index repeated along the other axes."""
    shape = [1] * t.dim()
    shape[dim] = -1
    return _scatter_reduce(t, dim, index.view(shape).expand_as(source), source, reduce, include_self=include_self)


op(aten.index_reduce.default, formula(_index_reduce, _beside(0, 3)), kinks=True, cut=_INTO_ROWS)


# -- windows and strided views ---------------------------------------------------------------------------------------

op(aten.unfold.default, linear_in_first(kept_unless(lambda s: [s.arg(1)])))
op(aten.unfold_backward.default, linear_in_first(kept_unless(lambda s: [s.arg(2) % len(s.arg(1)), -1])))
op(aten.rot90.default, linear_in_first(kept_unless(lambda s: s.arg(2, [0, 1]))))


def _strided(s: Site) -> Jet:
    x = s.x(0)
    size, stride = s.arg(1), s.arg(2)
    offset = s.arg(3)
    start = int(x.storage_offset())
    offset = start if offset is None else offset
    ends = max(_reach(x.shape, x.stride(), start), _reach(size, stride, offset))
    owned = torch.zeros(ends, dtype=torch.bool, device=x.device)
    owned.as_strided(x.shape, x.stride(), start).fill_(True)
    if not bool(owned.as_strided(size, stride, offset).all()):
        raise MissingRuleError(
            "as_strided within the elements of its input was needed, but it reaches others of the same storage, which "
            "belong to another tensor. Use indexing or view operations instead."
        )

    def through(t: Tensor) -> Tensor:
        buffer = t.new_zeros(ends)
        buffer.as_strided(x.shape, x.stride(), start).copy_(t)
        return buffer.as_strided(size, stride, offset)

    return s.through(through)


def _reach(size: Any, stride: Any, offset: int) -> int:
    return offset + sum((n - 1) * st for n, st in zip(size, stride, strict=True)) + 1 if math.prod(size) else offset


def _strided_axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    data = s.arg(0).data
    dense = data is not None and data.is_contiguous()
    first = dense and known == SampleAxis(0) and s.out_shape() and s.out_shape()[0] == s.batch
    rest = math.prod(s.shape(0)[1:])
    inner = _reach(s.arg(1)[1:], s.arg(2)[1:], 0) <= rest
    return known if first and s.arg(2)[0] == rest and inner and not s.arg(3) else Marker.LOST


op(
    aten.as_strided.default,
    Rule(Kind.LINEAR, _strided, _strided_axis, keep_inputs=(0,)),
    dtype="arriving",
    reads_values=lambda node: node.args[0].data is not None and node.args[0].data.is_contiguous(),
)
