"""Layout changes beyond the common ones: diagonals, copies of views, in-place views."""

from __future__ import annotations

from typing import Any

import torch

from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules import complex as complex
from curvestep.engine.rules import scatter as scatter
from curvestep.engine.rules import shape as shape
from curvestep.engine.rules.shape import linear_in_first
from curvestep.engine.rules.table import RULES, AxisSite, register

aten = torch.ops.aten


def _embedded_axis(s: AxisSite) -> Annotation:
    """The last axis becomes a diagonal of the axes dim1 and dim2 of the result."""
    known = s.at(0)
    if not isinstance(known, SampleAxis):
        return known
    rank = len(s.out_shape())
    new = {s.option(2, "dim1", -2) % rank, s.option(3, "dim2", -1) % rank}
    if known.dim == rank - 2:
        return Marker.LOST
    free = [d for d in range(rank) if d not in new]
    return SampleAxis(free[known.dim], known.outer, known.inner)


def _trace_axis(s: AxisSite) -> Annotation:
    return Marker.LOST if isinstance(s.at(0), SampleAxis) else s.at(0)


linear_in_first(aten.diag_embed.default, _embedded_axis)
linear_in_first(aten.trace.default, _trace_axis)


def _alike(op: Any, known: Any, run: Any = None) -> None:
    """Enter an operation that differs from one with a rule only in copying, or in changing its argument in place."""
    if op in RULES or known not in RULES:
        return
    if run is None:
        register(op, RULES[known])
    else:
        linear_in_first(op, RULES[known].axis, run)


_alike(aten.transpose_.default, aten.transpose.int, lambda t, a, b: t.transpose(a, b))
_alike(aten.narrow_copy.default, aten.narrow.default, lambda t, dim, start, length: t.narrow(dim, start, length))
for _name in (
    "diagonal", "expand", "permute", "select", "slice", "squeeze", "t", "transpose", "unsqueeze", "view", "alias",
    "split", "split_with_sizes", "unbind", "unfold", "view_as_real",
):  # fmt: skip
    _packet = getattr(aten, _name)
    _copies = getattr(aten, f"{_name}_copy", None)
    for _overload in [] if _copies is None else _copies.overloads():
        if _overload in _packet.overloads():
            _alike(getattr(_copies, _overload), getattr(_packet, _overload))
