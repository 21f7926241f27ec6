"""Where samples go: axis rules that many operations share, and where inputs lie under the samples of an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from curvestep.engine.data.rule import Cut
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge, through_broadcast
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.site import AxisSite


def elementwise_axis(site: AxisSite) -> Annotation:
    """Inputs are broadcast together; every output element depends on its own input elements only."""
    out = site.out_shape()
    return merge([through_broadcast(site.of(v), v.shape, out) for v in site.node.inputs])


def same_axis(site: AxisSite) -> list[Annotation]:
    """Every output of the first argument's rank keeps its axis; others lose it."""
    known = site.at(0)
    rank = len(site.shape(0))
    return [
        known if v is None or not isinstance(known, SampleAxis) or len(v.shape) == rank else Marker.LOST
        for v in site.node.outputs
    ]


def first_axis(site: AxisSite) -> Annotation:
    """Every output keeps the axis of the first argument."""
    return site.at(0)


def unnamed(site: AxisSite) -> Annotation:
    """Samples end where no axis can say whose an element is."""
    known = [site.of(v) for v in site.node.inputs]
    if any(isinstance(k, SampleAxis) for k in known):
        return Marker.LOST
    return next((m for m in (Marker.LOST, Marker.POOLED, Marker.SUMMED) if m in known), Marker.SHARED)


def kept_unless(*dims: Callable[[AxisSite], Sequence[int]]) -> Callable[[AxisSite], Annotation]:
    """The first argument's axis, lost where the operation works along one of the given axes of it."""

    def axis(site: AxisSite) -> Annotation:
        known = site.at(0)
        if not isinstance(known, SampleAxis):
            return known
        rank = max(len(site.shape(0)), 1)
        used = {d % rank for each in dims for d in each(site)}
        return Marker.LOST if known.dim in used else known

    return axis


def leading_axis(site: AxisSite) -> Annotation:
    """Samples along axis 0 stay there, whatever happens to the axes behind; shared stays shared."""
    known = [site.of(v) for v in site.node.inputs]
    named = [k for k in known if isinstance(k, SampleAxis)]
    if not named:
        return next((m for m in (Marker.LOST, Marker.POOLED, Marker.SUMMED) if m in known), Marker.SHARED)
    first = named[0]
    if Marker.LOST in known or any(k != first for k in named) or first.dim != 0:
        return Marker.LOST
    return first


def joined_axis(*positions: int) -> Callable[[AxisSite], Annotation]:
    """Arguments that meet element by element: one axis, or shared ones beside it; anything else is lost."""
    return lambda site: merge([site.at(i) for i in positions])


def before(trailing: int, *positions: int) -> Callable[[AxisSite], Annotation]:
    """Samples on one axis of the arguments (default: of the first), the same in each and none of the last ones."""
    meet = joined_axis(*positions or (0,))

    def axis(site: AxisSite) -> Annotation:
        known = meet(site)
        return Marker.LOST if isinstance(known, SampleAxis) and known.dim >= len(site.out_shape()) - trailing else known

    return axis


# -- cuts ------------------------------------------------------------------------------------------------------------

Under = Callable[[Value], "SampleAxis | None"]


def by_broadcast(node: Node, out: SampleAxis, result: Value) -> Under:
    """Inputs are aligned with the output at the last axis, whatever their own axes were taken for."""
    rank, size = len(result.shape), result.shape[out.dim]

    def under(v: Value) -> SampleAxis | None:
        dim = out.dim - (rank - len(v.shape))
        return replace(out, dim=dim) if dim >= 0 and v.shape[dim] == size else None

    return under


def _batch_first(node: Node, out: SampleAxis, result: Value) -> Under | None:
    return by_broadcast(node, out, result) if out.dim == 0 else None


#: Arguments that are broadcast to the output.
BROADCAST = Cut(aligned=by_broadcast)
#: Products of batches: every input with as many axes as the output has the batch first.
BATCHED = Cut(aligned=_batch_first)
