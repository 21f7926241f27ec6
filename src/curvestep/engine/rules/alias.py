"""The tape's own operation: a tensor read again after another view of its storage was written in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor

from curvestep.engine.data.geometry import Geometry, put
from curvestep.engine.data.rule import Cut, Kind, NotCut, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op


@final
class AliasUpdate:
    """`alias_update(old, written, geometry of old, geometry of written)`: old, with written's elements put in."""

    def __str__(self) -> str:
        return "tape.alias_update"


ALIAS_UPDATE = AliasUpdate()


def _jet(site: Site) -> Jet:
    target, source = site.arg(2), site.arg(3)
    return put(site.d(0), site.d(1), target, source), put(site.dd(0), site.dd(1), target, source)


def _axis(site: AxisSite) -> Annotation:
    old, written = site.at(0), seen_from(site.at(1), site.arg(2), site.arg(3))
    if written is Marker.SHARED or written == old:
        return old
    # A write of samples into a tensor that knew none gives it theirs; two different answers leave none.
    return written if old is Marker.SHARED else Marker.LOST


def seen_from(written: Annotation, target: Geometry, source: Geometry) -> Annotation:
    """The annotation of what was written with geometry `source`, as an axis of a tensor of geometry `target`."""
    if not isinstance(written, SampleAxis) or target == source:
        return written
    size, stride = source[0][written.dim], source[1][written.dim]
    for dim in range(len(target[0])):
        if (target[0][dim], target[1][dim]) == (size, stride) and _same_rows(target, dim, source, written.dim):
            return written.at(dim)
    return Marker.LOST


def _same_rows(target: Geometry, dim: int, source: Geometry, written: int) -> bool:
    """Whether index i along two axes of equal size and stride means the same stretch of the storage."""
    count, step = target[0][dim], target[1][dim]
    nested = False
    for size, stride, offset in (target, source):
        within = sum((n - 1) * s for n, s in zip(size, stride, strict=True) if s < step)
        around = [s for n, s in zip(size, stride, strict=True) if s > step and n > 1]
        if offset % step + within >= step or any(s % (count * step) for s in around):
            return False  # one stretch reaches into the next
        nested = nested or bool(around) or offset // step >= count
    first, second = target[2] // step, source[2] // step
    return first % count == second % count if nested else first == second


def _again(site: Site, args: tuple[Any, ...], watched: bool) -> tuple[Tensor | None]:
    return (put(*args),)


def _sizes(args: list[Any], out: tuple[int, ...], narrowed: Callable[[int, Any], Any]) -> list[Any]:
    """A part of the samples of a strided tensor lies where the first ones of it do."""
    places = [(narrowed(at, size), stride, offset) for at, (size, stride, offset) in enumerate(args[2:])]
    return [*args[:2], *places]


def _under(node: Node, out: SampleAxis, result: Value) -> Callable[[Value], SampleAxis | None]:
    old, _, target, source = node.args
    written = out if target == source else seen_from(out, source, target)
    if out.outer != 1 or not isinstance(written, SampleAxis):
        raise NotCut("a write through a view covers the samples in another order than the tensor that it changes")
    return lambda v: out if v is old else written


op(ALIAS_UPDATE, Rule(Kind.LINEAR, _jet, _axis, rerun=_again), dtype="arriving", cut=Cut(sizes=_sizes, aligned=_under))
