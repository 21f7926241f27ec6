"""Reading by index: embedding, gather, advanced indexing. Linear in what is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import Cut, Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.owned import gathered, picked_on_a_part
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op


def require_own_gradient(s: Site) -> None:
    """Refuse an embedding whose backward divides by how often a row is read: that is not its derivative."""
    if s.arg(3, False):
        raise MissingRuleError(
            f"The loss's own gradient was needed, but {s.node.name} ran with scale_grad_by_freq=True, which divides "
            "the gradient of a row by how often the row is read. Leave scale_grad_by_freq out."
        )


def _embedding(s: Site) -> Jet:
    require_own_gradient(s)
    index, padding = s.x(1), s.arg(2, -1)

    def read(t: Tensor) -> Tensor:
        out = torch.nn.functional.embedding(index, t)
        # The row of the padding index is read but counts as a constant: its gradient is zero, and so is its tangent.
        return out if padding < 0 else out.masked_fill((index == padding).unsqueeze(-1), 0.0)

    return s.through(read)


def _embedding_again(s: Site, args: tuple[Any, ...], watched: bool) -> Tensor:
    if watched:
        require_own_gradient(s)
    return aten.embedding.default(*args)


op(
    aten.embedding.default,
    Rule(
        Kind.LINEAR,
        _embedding,
        lambda s: s.at(1) if s.at(0) is Marker.SHARED else Marker.LOST,
        rerun=_embedding_again,
    ),
    dtype="arriving",
    draws=True,
)


def _gather(s: Site) -> Jet:
    dim, index = s.arg(1), s.x(2)

    return s.through(lambda t: t.gather(dim, index))


def _gather_axis(s: AxisSite) -> Annotation:
    source, index = s.at(0), s.at(2)
    known = merge([source, index])
    if isinstance(source, SampleAxis):
        if source.dim == s.arg(1) % len(s.shape(0)) or s.shape(0)[source.dim] != s.shape(2)[source.dim]:
            return Marker.LOST
    return known


op(aten.gather.default, Rule(Kind.LINEAR, _gather, _gather_axis), dtype="arriving", draws=True)


def _index_select(s: Site) -> Jet:
    dim, index = s.arg(1), s.x(2)

    return s.through(lambda t: t.index_select(dim, index))


def _index_select_axis(s: AxisSite) -> Annotation:
    source, index = s.at(0), s.at(2)
    along = s.arg(1) % max(len(s.shape(0)), 1)
    if isinstance(source, SampleAxis):
        if source.dim == along:
            return gathered(s, source, s.arg(2))
        return source if index is Marker.SHARED else Marker.LOST
    if source is Marker.SHARED and isinstance(index, SampleAxis):
        return index.at(along)
    return source if index is Marker.SHARED else Marker.LOST


op(
    aten.index_select.default,
    Rule(Kind.LINEAR, _index_select, _index_select_axis),
    dtype="arriving",
    cut=Cut(renumbers=picked_on_a_part),
    draws=True,
)


def _index(s: Site) -> Jet:
    indices = [None if v is None else s.data(v) for v in s.arg(1)]

    return s.through(lambda t: aten.index.Tensor(t, indices))


def _index_axis(s: AxisSite) -> Annotation:
    source, indices = s.at(0), s.arg(1)
    used = [i for i, v in enumerate(indices) if v is not None]
    fixed = all([s.of(indices[i]) is Marker.SHARED for i in used])
    if s.owners is not None and isinstance(source, SampleAxis) and used == [source.dim]:
        return gathered(s, source, indices[source.dim])
    neighbours = used == list(range(used[0], used[0] + len(used)))
    if fixed and neighbours and isinstance(source, SampleAxis) and used[0] > source.dim:
        return source  # what is read lies behind the samples
    if any(indices[i].dtype in (torch.bool, torch.uint8) for i in used):  # a mask: how many it picks is not known
        return source if isinstance(source, Marker) and fixed else Marker.LOST
    # The broadcast indices take the place of the indexed axes if those are neighbours, else they come first.
    width = max(len(indices[i].shape) for i in used)
    start = used[0] if neighbours else 0
    kept = [d for d in range(len(s.shape(0))) if d not in used]
    if isinstance(source, SampleAxis) and source.dim not in used:
        at = kept.index(source.dim)
        return source.at(at + width * (at >= start)) if fixed else Marker.LOST
    landed: set[Annotation] = set()
    for i in used:
        known = s.of(indices[i])
        if known is Marker.SHARED and isinstance(source, SampleAxis) and source.dim == i:
            known = _counted(s, indices[i], source)
        if isinstance(known, SampleAxis):
            landed.add(known.at(start + width - len(indices[i].shape) + known.dim))
        elif known is not Marker.SHARED:
            return Marker.LOST
        if isinstance(source, SampleAxis) and source.dim == i and not _enumerates(s, indices[i], known):
            return Marker.LOST
    if not landed:
        return source
    whole = isinstance(source, SampleAxis) or source is Marker.SHARED
    return landed.pop() if whole and len(landed) == 1 else Marker.LOST


_SAME = {aten.alias.default, aten.detach.default}
_VIEWS = {aten.unsqueeze.default, aten.view.default, aten.expand.default, aten.slice.Tensor, *_SAME}
_COUNTS = {aten.arange.default, aten.arange.start, aten.arange.start_step}
_LITERAL = {aten.lift_fresh.default, aten.lift_fresh_copy.default}
_SPACED = {*_COUNTS, aten.linspace.default}


def counts_positions(op: Any) -> bool:
    """Whether an operation makes a table of positions; it has no row, as nothing that moves goes into it."""
    return op in _SPACED


def is_literal(op: Any) -> bool:
    """Whether an operation brings in numbers that stand in the program, as torch.tensor([…]) does."""
    return op in _LITERAL


def table_of_positions(value: Value) -> Node | None:
    """The operation that made a table of positions; torch may detach one that it has made."""
    while value.origin is not None and value.origin.op in _SAME:
        value = value.origin.inputs[0]
    return value.origin if value.origin is not None and counts_positions(value.origin.op) else None


def _counted(s: AxisSite, index: Value, source: SampleAxis) -> Annotation:
    """The sample axis of an index that counts the samples and is taken for shared, as a table of positions is."""
    count = source.count(s.batch)
    dims = [dim for dim, size in enumerate(index.shape) if size == count]
    axis = SampleAxis(dims[0], owners=source.owners) if len(dims) == 1 else None
    return axis if axis is not None and _enumerates(s, index, axis) else Marker.SHARED


def _enumerates(s: AxisSite, index: Value, known: Annotation) -> bool:
    """Whether an index is 0, 1, …, batch − 1 along its sample axis, as in `x[arange(B), y]`."""
    if not isinstance(known, SampleAxis) or index.shape[known.dim] != known.count(s.batch):
        return False
    if index.data is None:  # made inside the recording: an unbroken chain of views from arange(B) is one
        while index.origin is not None and index.origin.op in _VIEWS:
            index = index.origin.args[0]
        made = index.origin
        if made is None or made.op not in _COUNTS or index.shape != (known.count(s.batch),):
            return False
        given = made.args
        return len(given) == 1 or (given[0] == 0 and (len(given) < 3 or given[2] == 1))
    return _counts_along(index.data, known.dim)


def _numbering(node: Node, inputs: Sequence[SampleAxis | None], batch: int) -> tuple[Value, SampleAxis] | None:
    """The index along the sample axis of what is read: it enumerates the samples, or that axis would be lost."""
    source, indices = inputs[0], node.args[1]
    if source is None or source.dim >= len(indices) or indices[source.dim] is None:
        return None
    index = indices[source.dim]
    known = inputs[node.inputs.index(index)]
    count = source.count(batch)
    at = next(dim for dim, size in enumerate(index.shape) if size == count)
    return index, known or SampleAxis(at, owners=source.owners)


def _values_read(node: Node) -> Any:
    """Along which axes each index that came from outside counts from 0, which is all that is read of its values."""
    found: list[Any] = []
    for index in node.args[1]:
        if index is None or index.data is None or index.dtype not in (torch.int32, torch.int64):
            found.append(None)
        else:
            found.append(tuple([_counts_along(index.data, dim) for dim in range(len(index.shape))]))
    return tuple(found)


def _counts_along(index: Tensor, dim: int) -> bool:
    counted = torch.arange(index.shape[dim], device=index.device)
    return bool((index == counted.reshape([-1 if d == dim else 1 for d in range(index.dim())])).all())


op(
    aten.index.Tensor,
    Rule(Kind.LINEAR, _index, _index_axis),
    dtype="arriving",
    cut=Cut(counts=_numbering, renumbers=picked_on_a_part),
    draws=True,
    reads_values=_values_read,
)
