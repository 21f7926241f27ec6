"""Reading by index: embedding, gather, advanced indexing. Linear in what is read."""

from __future__ import annotations

import torch
from torch import Tensor

from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, register
from curvestep.engine.samples import Annotation, Marker, SampleAxis

aten = torch.ops.aten


def _embedding(s: Site) -> Jet:
    index, padding = s.x(1), s.arg(2, -1)

    def read(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        out = torch.nn.functional.embedding(index, t)
        # The row of the padding index is read but counts as a constant: its gradient is zero, and so is its tangent.
        return out if padding < 0 else out.masked_fill((index == padding).unsqueeze(-1), 0.0)

    return read(s.d(0)), read(s.dd(0))


register(
    aten.embedding.default,
    Rule(Kind.LINEAR, _embedding, lambda s: s.at(1) if s.at(0) is Marker.SHARED else Marker.LOST),
)


def _gather(s: Site) -> Jet:
    dim, index = s.arg(1), s.x(2)

    def read(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.gather(dim, index)

    return read(s.d(0)), read(s.dd(0))


def _gather_axis(s: AxisSite) -> Annotation:
    source, index = s.at(0), s.at(2)
    if isinstance(source, SampleAxis):
        if source.dim == s.arg(1) % len(s.shape(0)) or s.shape(0)[source.dim] != s.shape(2)[source.dim]:
            return Marker.LOST
        return source
    return index if source is Marker.SHARED else source


register(aten.gather.default, Rule(Kind.LINEAR, _gather, _gather_axis))


def _index_select(s: Site) -> Jet:
    dim, index = s.arg(1), s.x(2)

    def read(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.index_select(dim, index)

    return read(s.d(0)), read(s.dd(0))


def _index_select_axis(s: AxisSite) -> Annotation:
    source = s.at(0)
    along = s.arg(1) % max(len(s.shape(0)), 1)
    if isinstance(source, SampleAxis):
        return Marker.LOST if source.dim == along else source
    if source is Marker.SHARED and isinstance(s.at(2), SampleAxis):
        axis = s.at(2)
        assert isinstance(axis, SampleAxis)
        return SampleAxis(along, axis.outer, axis.inner)
    return source


register(aten.index_select.default, Rule(Kind.LINEAR, _index_select, _index_select_axis))


def _index(s: Site) -> Jet:
    indices = [None if v is None else s.data(v) for v in s.arg(1)]

    def read(t: Tensor | None) -> Tensor | None:
        return None if t is None else aten.index.Tensor(t, indices)

    return read(s.d(0)), read(s.dd(0))


def _index_axis(s: AxisSite) -> Annotation:
    source, indices = s.at(0), s.arg(1)
    used = [i for i, v in enumerate(indices) if v is not None]
    if isinstance(source, SampleAxis):
        if source.dim not in used and all(i > source.dim for i in used):
            return source  # indexed axes lie behind the samples
        if source == SampleAxis(0) and used and used[0] == 0 and _enumerates(s, indices[0]):
            return SampleAxis(0) if s.out_shape()[0] == s.batch else Marker.LOST
        return Marker.LOST
    if source is Marker.SHARED and used == [0]:
        return s.of(indices[0])
    known = {s.of(indices[i]) for i in used}
    return source if known <= {Marker.SHARED} else Marker.LOST


def _enumerates(s: AxisSite, index: object) -> bool:
    """Whether an index is 0, 1, …, batch − 1, as in `x[arange(B), y]`."""
    data = getattr(index, "data", None)
    return (
        isinstance(data, Tensor)
        and data.dtype == torch.int64
        and data.shape == (s.batch,)
        and bool((data == torch.arange(s.batch, device=data.device)).all())
    )


register(aten.index.Tensor, Rule(Kind.LINEAR, _index, _index_axis))
