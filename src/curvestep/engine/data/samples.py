"""Where the samples of the batch sit in a tensor: the sample axis and how it moves.

Every tensor on a tape carries one *annotation*:

* a `SampleAxis` – index `i` along `dim` belongs to sample `(i // inner) % batch`, or to the one that `Owners` name;
* `Marker.SHARED` – the tensor does not depend on the batch (a weight, a position table);
* `Marker.SUMMED` – a plain sum or mean over the samples (a reduced loss, a batch mean);
* `Marker.POOLED` – a statistic of the whole batch that is no plain sum (a batch variance);
* `Marker.LOST` – it depends on the batch, but no axis can be named.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor


class Marker(enum.Enum):
    """Annotations of tensors that have no sample axis."""

    SHARED = "does not depend on the batch"
    SUMMED = "is a plain sum over the samples"
    POOLED = "is a statistic of the whole batch"
    LOST = "depends on the batch along no single axis"


@final
@dataclass(frozen=True, slots=True)
class Owners:
    """The sample of each row, where samples have rows of different number."""

    numbers: tuple[int, ...]

    def __hash__(self) -> int:  # asked often, of many rows: most are the same object, or differ in their number
        return hash((len(self.numbers), self.numbers[:4], self.numbers[-4:]))


@dataclass(frozen=True, slots=True)
class SampleAxis:
    """Index `i` along `dim` (of size outer·batch·inner) belongs to sample `(i // inner) % batch`.

    With owners it has size outer·len(owners)·inner, and the sample is `owners[(i // inner) % len(owners)]`.
    """

    dim: int
    outer: int = 1
    inner: int = 1
    owners: Owners | None = None

    def at(self, dim: int) -> SampleAxis:
        """The same along another axis."""
        return self if dim == self.dim else SampleAxis(dim, self.outer, self.inner, self.owners)

    def count(self, batch: int) -> int:
        """How many rows of their own lie along it: samples, or what they own."""
        return batch if self.owners is None else len(self.owners.numbers)

    def picked(self, rows: Sequence[int], batch: int) -> SampleAxis:
        """The axis of these rows, in this order."""
        own = range(batch) if self.owners is None else self.owners.numbers
        numbers = tuple([own[i] for i in rows])
        return SampleAxis(self.dim, owners=None if numbers == tuple(range(batch)) else Owners(numbers))


Annotation = SampleAxis | Marker


@final
@dataclass(frozen=True, slots=True)
class Renumbering:
    """An index of rows, which numbers those of a part where they are some of all.

    Attributes:
        at: its place among the inputs of its operation.
        dim: the axis of the index along which its own rows lie.
        rows: whose they are.
        within: the axis whose rows it numbers.
    """

    at: int
    dim: int
    rows: SampleAxis
    within: SampleAxis


def through_view(axis: SampleAxis, old: Sequence[int], new: Sequence[int], batch: int) -> Annotation:
    """The annotation after a reshape from `old` to `new`: found by the flat stride of the batch factor."""
    batch = axis.count(batch)
    stride = axis.inner * math.prod(old[axis.dim + 1 :])
    trailing = 1
    for dim in range(len(new) - 1, -1, -1):
        size = new[dim]
        reaches = trailing * size
        if stride % trailing == 0 and stride * batch <= reaches and reaches % (stride * batch) == 0:
            return SampleAxis(dim, reaches // (stride * batch), stride // trailing, axis.owners)
        trailing = reaches
    return Marker.LOST


def through_permute(axis: SampleAxis, order: Sequence[int]) -> SampleAxis:
    """The annotation after `permute(order)`."""
    return axis.at([d % len(order) for d in order].index(axis.dim))


def through_broadcast(annotation: Annotation, shape: Sequence[int], out: Sequence[int]) -> Annotation:
    """The annotation of a tensor of `shape` once it is broadcast to `out` (aligned at the last axis)."""
    if len(out) != len(shape) and isinstance(annotation, SampleAxis):
        return annotation.at(annotation.dim + len(out) - len(shape))
    return annotation


def merge(parts: Iterable[Annotation]) -> Annotation:
    """One annotation for operands that meet, each as it lies in the result: named axes agree, or none is left."""
    named: SampleAxis | None = None
    whole: Marker = Marker.SHARED
    for annotation in parts:
        if annotation is Marker.SHARED:
            continue
        if annotation is Marker.LOST:
            return Marker.LOST
        if not isinstance(annotation, SampleAxis):
            whole = annotation if whole is Marker.SHARED or annotation is Marker.POOLED else whole
        elif named is None:
            named = annotation
        elif annotation != named:
            return Marker.LOST
    return whole if named is None else named


def rows(contribution: Tensor, axis: SampleAxis, batch: int) -> Tensor:
    """Sum `contribution` over everything but the samples: shape (batch,)."""
    if axis.owners is not None:
        each = rows(contribution, replace(axis, owners=None), len(axis.owners.numbers))
        index = torch.tensor(axis.owners.numbers, device=each.device)
        return each.new_zeros(batch).index_add(0, index, each)
    shape = contribution.shape
    if axis.inner == 1 and axis.outer == 1 and axis.dim == 0:
        return contribution.reshape(batch, -1).sum(1)
    before = math.prod(shape[: axis.dim]) * axis.outer
    return contribution.reshape(before, batch, -1).sum((0, 2))


def paired_rows(left: Tensor, right: Tensor, axis: SampleAxis, batch: int) -> Tensor:
    """Sum left · right over everything but the samples: shape (batch,); without the product in memory where it can."""
    if axis.owners is not None:
        return rows(left * right, axis, batch)
    shape = left.shape
    if axis.inner == 1 and axis.outer == 1 and axis.dim == 0:
        if len(shape) == 2:
            return torch.linalg.vecdot(left, right)
        return torch.linalg.vecdot(left.reshape(batch, -1), right.reshape(batch, -1))
    before = math.prod(shape[: axis.dim]) * axis.outer
    if before == 1:
        return torch.linalg.vecdot(left.reshape(batch, -1), right.reshape(batch, -1))
    return rows(left * right, axis, batch)
