"""Rows that are gathered and added along the sample axis, where a user said which sample each row belongs to.

The rows of a result then belong to the samples of those that they were made of, which the values of the index say. They
are read on the host, and only where `record(samples=…)` was given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from curvestep.engine.data.rule import NotCut
from curvestep.engine.data.samples import Annotation, Marker, Renumbering, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.site import AxisSite


def gathered(s: AxisSite, source: SampleAxis, index: Value) -> Annotation:
    """The annotation of rows of the source that an index picks along its sample axis."""
    s.of(index)  # read by its values, wherever they come from
    picks = _rows(s, index, 0)
    if picks is None or len(index.shape) != 1 or (source.outer, source.inner) != (1, 1):
        return Marker.LOST
    return source.picked(picks, s.batch)


def added(s: AxisSite, target: int, index: Value, written: int) -> Annotation:
    """The annotation of a tensor into whose rows others were added: each of them takes rows of one sample alone."""
    dim = s.arg(1) % max(len(s.out_shape()), 1)
    picks, below, above = _rows(s, index, dim), s.at(target), s.at(written)
    s.of(index)
    if picks is None or s.owners is None or not isinstance(above, SampleAxis) or (above.outer, above.inner) != (1, 1):
        return Marker.LOST
    if above.dim != dim or len(s.shape(written)) != len(s.out_shape()):
        return Marker.LOST
    size = s.out_shape()[dim]
    own = _numbers(s, above)
    if isinstance(below, SampleAxis):
        found: list[int | None] = list(_numbers(s, below)) if below == SampleAxis(dim, owners=below.owners) else []
    else:
        constant = below is Marker.SHARED and not s.arg(target).needs_grad
        found = [None] * size if constant else []
    if len(found) != size or len(picks) > len(own):
        return Marker.LOST
    for row, sample in zip(picks, own, strict=False):
        if found[row] not in (None, sample):
            return Marker.LOST
        found[row] = sample
    filled = _filled(found, (range(s.batch), s.owners.numbers))
    return Marker.LOST if filled is None else SampleAxis(dim).picked(filled, s.batch)


Renumbered = tuple[list["SampleAxis | None"], Renumbering]


def picked_on_a_part(node: Node, axes: Sequence[Annotation], out: SampleAxis) -> Renumbered | None:
    """How rows are gathered on a part of the samples: as in `gathered`, the index numbers rows of the source."""
    source, rest = node.args[0], node.args[1]
    within = axes[node.inputs.index(source)]
    if isinstance(rest, list):
        used = [dim for dim, index in enumerate(rest) if index is not None]
        dim, index = used[0], rest[used[0]]
        along = len(used) == 1
    else:
        dim, index, along = rest % max(len(source.shape), 1), node.args[2], True
    if not (along and isinstance(within, SampleAxis) and within.dim == dim):
        return None
    found: list[SampleAxis | None] = [within if v is source else None for v in node.inputs]
    return found, Renumbering(node.inputs.index(index), 0, SampleAxis(0, owners=out.owners), within)


def added_on_a_part(node: Node, axes: Sequence[Annotation], out: SampleAxis) -> Renumbered | None:
    """How rows are added on a part of the samples: as in `added`, the index numbers rows of the target."""
    target, dim, index, written = node.args[:4]
    dim %= max(len(target.shape), 1)
    if dim != out.dim:
        return None
    above = axes[node.inputs.index(written)] if isinstance(written, Value) else Marker.SHARED
    lines = dim if len(index.shape) > 1 else 0
    if not isinstance(above, SampleAxis) or index.shape[lines : lines + 1] != written.shape[dim : dim + 1]:
        raise NotCut(f"{node.name} writes rows along the samples, and not one of a sample for each number in its index")
    inputs = {target: out, written: above}
    rows = SampleAxis(0, owners=above.owners)
    return [inputs.get(v) for v in node.inputs], Renumbering(node.inputs.index(index), lines, rows, out)


def _filled(found: Sequence[int | None], whole: Sequence[Sequence[int]]) -> list[int] | None:
    """The samples of all rows: one that took nothing is a sample's by the only numbering that all others agree with."""
    if None not in found:
        return [n for n in found if n is not None]
    agree = [
        list(numbers)
        for numbers in whole
        if len(numbers) == len(found) and all(n in (None, own) for n, own in zip(found, numbers, strict=True))
    ]
    return agree[0] if agree and all(numbers == agree[0] for numbers in agree) else None


def _numbers(s: AxisSite, axis: SampleAxis) -> Sequence[int]:
    return range(s.batch) if axis.owners is None else axis.owners.numbers


def _rows(s: AxisSite, index: Value, dim: int) -> list[int] | None:
    """The rows that an index names along an axis, the same in all others; None where it cannot be known."""
    data = index.data
    if s.owners is None or data is None or index.overwritten or (data.dim() != 1 and data.dim() <= dim):
        return None
    if data.dtype in (torch.bool, torch.uint8):
        return data.nonzero()[:, 0].tolist() if data.dim() == 1 else None
    if data.dim() > 1:
        lines = data.movedim(dim, 0).reshape(data.shape[dim], -1)
        if not lines.shape[1] or not bool((lines == lines[:, :1]).all()):
            return None
        data = lines[:, 0]
    return data.tolist()
