"""Which samples of a batch a pass measures, and how they are read out of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from curvestep.engine.data.samples import Owners, Renumbering, SampleAxis

Chosen = range | tuple[int, ...]


def spread(batch: int, count: int, part: int) -> Chosen:
    """`count` samples spread evenly over the batch.

    Definition:
        Sample s belongs to part o iff ⌊(s + 1 + o) k/B⌋ > ⌊(s + o) k/B⌋. Every B parts in a row measure each sample
        equally often, and every ⌈B/k⌉ of them at least once.

    Args:
        batch: B.
        count: k, in [1, B].
        part: o, at least 0.

    Returns:
        k numbers in order: a range where B is a multiple of k.
    """
    if batch % count == 0:
        stride = batch // count
        return range(stride - 1 - part % stride, batch, stride)
    first = part % batch
    level = first * count // batch + 1
    return tuple([-(-(level + i) * batch // count) - 1 - first for i in range(count)])


def as_chosen(indices: Sequence[int]) -> Chosen:
    """The same indices, as a range where their distances are equal."""
    if isinstance(indices, range):
        return indices
    given = tuple(indices)
    if len(given) > 1 and given[1] > given[0]:
        even = range(given[0], given[-1] + 1, given[1] - given[0])
        if len(even) == len(given) and tuple(even) == given:
            return even
    return range(given[0], given[0] + 1) if len(given) == 1 else given


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a part, where samples have rows of different number.

    Attributes:
        index: which of all rows, int64, shape (n,), in order.
        owners: whose they are, the samples numbered as in the part.
    """

    index: Tensor
    owners: Owners


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Some of the samples of a batch.

    Attributes:
        batch: B, the samples of the batch.
        count: k, those of the part.
        chosen: which ones; None where only `index` says so, in a graph that is to serve every part.
        index: the same as a tensor, int64, shape (k,); None where `chosen` is a range.
        owned: the rows of the part, once they have been asked for.
    """

    batch: int
    count: int
    chosen: Chosen | None
    index: Tensor | None = None
    owned: dict[Owners, Rows] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(batch: int, chosen: Chosen, device: torch.device) -> Part:
        """The part of the given samples."""
        index = None if isinstance(chosen, range) else torch.tensor(chosen, device=device)
        return Part(batch, len(chosen), chosen, index)

    @staticmethod
    def traced(batch: int, count: int, part: Tensor) -> Part:
        """`spread` for a number of the part, of shape (), that a graph reads when it runs."""
        first = part.to(torch.int64).remainder(batch)
        level = first * count // batch + 1 + torch.arange(count, device=part.device)
        return Part(batch, count, None, (level * batch + (count - 1)) // count - 1 - first)

    def read(self, tensor: Tensor, axis: SampleAxis) -> Tensor:
        """The samples of the part: contiguous where the whole tensor is, as kernels expect of each other's results."""
        picked, dim = tensor, axis.dim
        own = None if axis.owners is None else self.rows_of(axis.owners).index.to(tensor.device)
        index = self.index if own is None else own
        folded = axis.outer > 1 or (axis.inner > 1 and not (own is None and self._leads))
        if folded:
            picked, dim = tensor.unflatten(dim, (axis.outer, axis.count(self.batch), axis.inner)), dim + 1
        if index is not None:
            picked = picked.index_select(dim, index)
        else:
            assert isinstance(self.chosen, range)
            wide = 1 if folded else axis.inner
            at = slice(self.chosen.start * wide, self.chosen.stop * wide, self.chosen.step)
            picked = picked[(slice(None),) * dim + (at,)]
        if folded:
            picked = picked.flatten(dim - 1, dim + 1)
        return picked.contiguous() if tensor.is_contiguous() else picked

    def rows_of(self, owners: Owners) -> Rows:
        """The rows of the samples of the part."""
        found = self.owned.get(owners)
        if found is None:
            assert self.chosen is not None
            place = {sample: at for at, sample in enumerate(self.chosen)}
            index = [row for row, sample in enumerate(owners.numbers) if sample in place]
            numbers = tuple([place[owners.numbers[row]] for row in index])
            found = self.owned[owners] = Rows(torch.tensor(index, dtype=torch.int64), Owners(numbers))
        return found

    def count_of(self, axis: SampleAxis) -> int:
        """How many rows of their own the samples of the part have along an axis."""
        return self.count if axis.owners is None else len(self.rows_of(axis.owners).owners.numbers)

    def axis_of(self, axis: SampleAxis) -> SampleAxis:
        """The axis of what was read along another one."""
        if axis.owners is None:
            return axis
        owners = self.rows_of(axis.owners).owners
        return replace(axis, owners=None if owners.numbers == tuple(range(self.count)) else owners)

    def renumbered(self, index: Tensor, how: Renumbering) -> Tensor:
        """An index of rows for the part: its own rows, numbering those of the part along `how.within`."""
        if index.dtype in (torch.bool, torch.uint8):
            index = index.nonzero()[:, 0]
        kept, whole = self._kept(how.within).to(index.device), how.within.count(self.batch)
        place = index.new_full((whole,), -1)
        place[kept] = torch.arange(len(kept), dtype=index.dtype, device=index.device)
        line = index.movedim(how.dim, 0).flatten(1)[:, 0] if index.dim() > 1 else index
        line = place[line[self._kept(how.rows).to(index.device)].long() % whole]
        shape = [*index.shape]
        shape[how.dim] = len(line)
        return line.reshape([-1 if dim == how.dim else 1 for dim in range(len(shape))]).expand(shape)

    def _kept(self, axis: SampleAxis) -> Tensor:
        """Which rows along an axis are those of the part, on the host."""
        if axis.owners is not None:
            return self.rows_of(axis.owners).index
        assert self.chosen is not None
        return torch.tensor(tuple(self.chosen))

    @property
    def _leads(self) -> bool:
        """Whether the samples are neighbours."""
        return isinstance(self.chosen, range) and self.chosen.step == 1


def checked_samples(samples: float | Sequence[int] | Tensor) -> float | Sequence[int]:
    """Return a count, a fraction or indices; refuse what is none of them."""
    if isinstance(samples, Tensor) and samples.dim() == 1 and samples.dtype in (torch.int32, torch.int64):
        samples = samples.tolist()
    if isinstance(samples, (tuple, list, range)):
        whole = all(isinstance(s, int) and not isinstance(s, bool) for s in samples)
        if whole and samples and len(set(samples)) == len(samples):
            return samples
    elif isinstance(samples, int) and not isinstance(samples, bool):
        if samples >= 1:
            return samples
    elif isinstance(samples, float) and 0 < samples <= 1:
        return samples
    raise ValueError(
        "samples must be a whole number of at least 1, or a fraction above 0 and at most 1 as a float, or at least one "
        f"index of a sample, none of them twice, but samples={samples!r} was given. Leave it out to measure the whole "
        "batch."
    )
