"""Which sample each element of a value depends on, found by changing one sample's data at a time and running again.

Nothing here knows what an operation does to an axis, so that it cannot share a mistake with the engine's axis rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.fuzz.programs import Leaf, Program


@dataclass(frozen=True)
class Samples:
    """The samples lie along `dim`; entry i of it belongs to sample `owner[i]`."""

    dim: int
    owner: tuple[int, ...]

    def sums(self, values: Tensor, batch: int) -> Tensor:
        """The sum of the entries of each sample, shape (B,)."""
        lines = values.movedim(self.dim, 0).reshape(len(self.owner), -1).sum(1)
        return torch.zeros(batch, dtype=values.dtype).index_add(0, torch.tensor(self.owner), lines)


#: Every element may depend on every sample.
MIXED = "mixed"
#: No element depends on a sample.
SHARED = "shared"

Where = Samples | str


def with_sample_changed(leaf: Leaf, sample: int) -> Tensor:
    """The leaf with other numbers for one sample."""
    tensor = leaf.make().detach()
    if leaf.axis is not None:
        other = leaf.make(leaf.seed + 10_000).detach()
        tensor.select(leaf.axis, sample).copy_(other.select(leaf.axis, sample))
        if leaf.high > 1 and torch.equal(tensor, leaf.make()):
            part = tensor.select(leaf.axis, sample)
            part.copy_((part + 1) % leaf.high)
    return tensor


def where(base: Tensor, changed: Sequence[Tensor], batch: int) -> Where:
    """Where the samples lie in a value, given the value with each sample changed."""
    differs = [(base != other) & ~(base.isnan() & other.isnan()) for other in changed]
    if not any(bool(d.any()) for d in differs):
        return SHARED
    found = []
    for dim, size in enumerate(base.shape):
        lines = torch.stack([d.movedim(dim, 0).reshape(size, -1).any(1) for d in differs])  # (sample, entry)
        if size >= batch and bool((lines.sum(0) == 1).all()) and bool(lines.any(1).all()):
            found.append(Samples(dim, tuple(lines.int().argmax(0).tolist())))
    return found[0] if len(found) == 1 else MIXED


def trace_terms(program: Program) -> Where:
    """Where the samples lie in the terms of the loss; of one sample all terms are its own."""
    with torch.no_grad():
        base = program.bind(program.tensors())(True)[1]
        assert base is not None
        if program.batch == 1:
            return Samples(0, (0,) * base.shape[0]) if base.ndim else SHARED
        changed = []
        for s in range(program.batch):
            each = program.bind({leaf.name: with_sample_changed(leaf, s) for leaf in program.leaves})(True)[1]
            if each is None or each.shape != base.shape:
                return MIXED
            changed.append(each)
    return where(base, changed, program.batch)
