"""The tape's own operation: a tensor read again after another view of its storage was written in place."""

from __future__ import annotations

from typing import final

from torch import Tensor

from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, register
from curvestep.engine.samples import Annotation, Marker, SampleAxis

Geometry = tuple[tuple[int, ...], tuple[int, ...], int]  # size, stride, storage offset


@final
class AliasUpdate:
    """`alias_update(old, written, geometry of old, geometry of written)`: old, with written's elements put in."""

    def __str__(self) -> str:
        return "tape.alias_update"


ALIAS_UPDATE = AliasUpdate()


def put(old: Tensor | None, written: Tensor | None, target: Geometry, source: Geometry) -> Tensor | None:
    """`old`, of geometry `target`, with `written`, of geometry `source`, put in; a missing tensor is zero."""
    like = written if written is not None else old
    if like is None:
        return None
    reach = max(o + sum((n - 1) * s for n, s in zip(size, st, strict=True)) + 1 for size, st, o in (target, source))
    buffer = like.new_zeros(reach)
    if old is not None:
        buffer.as_strided(*target).copy_(old)
    window = buffer.as_strided(*source)
    window.zero_() if written is None else window.copy_(written)
    return buffer.as_strided(*target).clone()


def _jet(site: Site) -> Jet:
    target, source = site.arg(2), site.arg(3)
    return put(site.d(0), site.d(1), target, source), put(site.dd(0), site.dd(1), target, source)


def _axis(site: AxisSite) -> Annotation:
    old, written = site.at(0), _seen_from(site.at(1), site.arg(2), site.arg(3))
    if written is Marker.SHARED or written == old:
        return old
    # A write of samples into a tensor that knew none gives it theirs; two different answers leave none.
    return written if old is Marker.SHARED else Marker.LOST


def _seen_from(written: Annotation, target: Geometry, source: Geometry) -> Annotation:
    """The annotation of what was written with geometry `source`, as an axis of a tensor of geometry `target`."""
    if not isinstance(written, SampleAxis) or target == source:
        return written
    size, stride = source[0][written.dim], source[1][written.dim]
    rest, found = source[2] - target[2], None
    for dim in sorted(range(len(target[0])), key=lambda d: -target[1][d]):
        if target[0][dim] == 1 or target[1][dim] == 0:
            continue
        start, rest = divmod(rest, target[1][dim])
        if (target[0][dim], target[1][dim]) == (size, stride):
            found = dim if start == 0 else None  # a write that starts at another sample shifts them
    return Marker.LOST if found is None else SampleAxis(found, written.outer, written.inner)


register(ALIAS_UPDATE, Rule(Kind.LINEAR, _jet, _axis))
