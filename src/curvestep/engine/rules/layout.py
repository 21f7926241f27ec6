"""Layout changes beyond the common ones: diagonals, copies of views, in-place views."""

from __future__ import annotations

from dataclasses import replace

import torch

from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules import complex as complex
from curvestep.engine.rules import scatter as scatter
from curvestep.engine.rules import shape as shape
from curvestep.engine.rules.axes import unnamed
from curvestep.engine.rules.forms import linear_in_first
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite
from curvestep.engine.rules.table import RULES, op


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
    return known.at(free[known.dim])


op(aten.diag_embed.default, linear_in_first(_embedded_axis))
op(aten.trace.default, linear_in_first(unnamed))


op(aten.transpose_.default, linear_in_first(RULES[aten.transpose.int].axis, torch.transpose), dtype="arriving")
op(aten.narrow_copy.default, linear_in_first(RULES[aten.narrow.default].axis))

# What differs from an operation with a rule only in copying.
for _name in (
    "diagonal", "expand", "permute", "select", "slice", "squeeze", "t", "transpose", "unsqueeze", "view", "alias",
    "split", "split_with_sizes", "unbind", "unfold", "view_as_real",
):  # fmt: skip
    _packet, _copies = getattr(aten, _name), getattr(aten, f"{_name}_copy")
    for _overload in _copies.overloads():
        _copy, _known = getattr(_copies, _overload), RULES.get(getattr(_packet, _overload))
        if _known is not None and _copy not in RULES:
            op(_copy, replace(_known, rerun=None))
