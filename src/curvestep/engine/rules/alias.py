"""The tape's own operation: a tensor read again after another view of its storage was written in place."""

from __future__ import annotations

from typing import final

from torch import Tensor

from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, register
from curvestep.engine.samples import Annotation, Marker

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
    old = site.at(0)
    if old is not Marker.SHARED:
        return old
    return site.at(1) if site.shape(0) == site.shape(1) else Marker.LOST


register(ALIAS_UPDATE, Rule(Kind.LINEAR, _jet, _axis))
