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


#: Some element depends on several samples.
MIXED = "mixed"
#: No element is seen to depend on several samples, but where each of them lies is not seen either.
UNKNOWN = "unknown"
#: No element depends on a sample.
SHARED = "shared"

Where = Samples | str


#: How often each sample is changed: a hinge or a margin may be zero before and after one change.
TURNS = 4


def with_sample_changed(leaf: Leaf, sample: int, turn: int = 1, start: Tensor | None = None) -> Tensor:
    """The leaf, or a changed one, with other numbers for one sample, and others again at each turn."""
    tensor = leaf.make().detach() if start is None else start
    if leaf.axis is not None:
        before = tensor.clone()
        other = leaf.make(leaf.seed + 10_000 * turn).detach()
        tensor.select(leaf.axis, sample).copy_(other.select(leaf.axis, sample))
        if leaf.high > 1 and torch.equal(tensor, before):
            part = tensor.select(leaf.axis, sample)
            part.copy_((part + 1) % leaf.high)
    return tensor


def where(base: Tensor, changed: Sequence[Tensor], batch: int) -> Where:
    """Where the samples lie in a value, given the value with each sample changed."""
    return _where([_differs(base, other) for other in changed], base, batch)


def _differs(base: Tensor, other: Tensor) -> Tensor:
    """Which elements are not the same; NaN is the same as NaN."""
    return (base != other) & ~(base.isnan() & other.isnan())


def _where(differs: Sequence[Tensor], base: Tensor, batch: int) -> Where:
    """Where the samples lie, given what each of them changes."""
    if not any(bool(d.any()) for d in differs):
        return SHARED
    found, torn = [], []
    for dim, size in enumerate(base.shape):
        lines = torch.stack([d.movedim(dim, 0).reshape(size, -1).any(1) for d in differs])  # (sample, entry)
        if size < batch or bool((lines.sum(0) > 1).any()):
            continue
        owner = lines.int().argmax(0)
        if bool((lines.sum(0) == 1).all()) and bool(lines.any(1).all()):
            found.append(Samples(dim, tuple(owner.tolist())))
        elif size == batch and torch.equal(owner[lines.any(0)], torch.arange(batch)[lines.any(0)]):
            torn.append(Samples(dim, tuple(range(batch))))  # what no change reaches stands where its sample does
    if len(found) == 1:
        return found[0]
    if bool((torch.stack(list(differs)).sum(0) > 1).any()):
        return MIXED
    return torn[0] if len(torn) == 1 and not found else UNKNOWN


def trace_terms(program: Program) -> Where:
    """Where the samples lie in the terms of the loss; of one sample all terms are its own."""
    with torch.no_grad():
        base = program.bind(program.tensors())(True)[1]
        assert base is not None
        if program.batch == 1:
            return Samples(0, (0,) * base.shape[0]) if base.ndim else SHARED
        found: Where = MIXED
        differs = [torch.zeros_like(base, dtype=torch.bool) for _ in range(program.batch)]
        for turn in range(1, 1 + TURNS):
            for s, before in enumerate(differs):
                leaves = {leaf.name: with_sample_changed(leaf, s, turn) for leaf in program.leaves}
                each = program.bind(leaves)(True)[1]
                if each is None or each.shape != base.shape:
                    return UNKNOWN
                before |= _differs(base, each)
            found = _where(differs, base, program.batch)
            if turn > 1 and isinstance(found, Samples):
                break
    return found


def couples(program: Program, tolerance: float) -> bool:
    """Whether the loss is seen to have no terms that are a sample's own.

    Terms along an axis of the samples are theirs, though other samples are in them (batch normalisation). Without such
    an axis J = Σ_s J_s has J(s and t changed) − J(s changed) = J(t changed) − J for all samples s and t.
    """

    def loss(*samples: int) -> float:
        leaves: dict[str, Tensor] = {}
        for leaf in program.leaves:
            tensor = leaf.make().detach()
            for s in samples:
                tensor = with_sample_changed(leaf, s, start=tensor)
            leaves[leaf.name] = tensor
        return float(program.bind(leaves)()[0])

    with torch.no_grad():
        each = program.bind(program.tensors())(True)[1]
        if each is None or any(size % program.batch == 0 for size in each.shape):
            return False
        none, alone = loss(), [loss(s) for s in range(program.batch)]
        pairs = [(s, t) for t in range(program.batch) for s in range(t)]
        return any(abs(loss(s, t) - alone[s] - alone[t] + none) > tolerance for s, t in pairs)
