"""Which samples of a batch a pass measures, and how they are read out of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from curvestep.engine.data.samples import SampleAxis

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
class Part:
    """Some of the samples of a batch.

    Attributes:
        batch: B, the samples of the batch.
        count: k, those of the part.
        chosen: which ones; None where only `index` says so, in a graph that is to serve every part.
        index: the same as a tensor, int64, shape (k,); None where `chosen` is a range.
    """

    batch: int
    count: int
    chosen: Chosen | None
    index: Tensor | None = None

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
        folded = axis.outer > 1 or (axis.inner > 1 and not self._leads)
        if folded:
            picked, dim = tensor.unflatten(dim, (axis.outer, self.batch, axis.inner)), dim + 1
        if self.index is not None:
            picked = picked.index_select(dim, self.index)
        else:
            assert isinstance(self.chosen, range)
            wide = 1 if folded else axis.inner
            at = slice(self.chosen.start * wide, self.chosen.stop * wide, self.chosen.step)
            picked = picked[(slice(None),) * dim + (at,)]
        if folded:
            picked = picked.flatten(dim - 1, dim + 1)
        return picked.contiguous() if tensor.is_contiguous() else picked

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
