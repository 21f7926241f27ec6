"""Which sample each element of a value depends on, found by changing one sample's data at a time and running again.

Nothing here knows what an operation does to an axis, so that it cannot share a mistake with the engine's axis rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.fuzz.programs import Leaf, Program, Step, normal


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

    Terms along an axis of the samples are theirs, though other samples are in them (batch normalisation); so they are
    where the loss itself adds them up along such an axis. Without one J = Σ_s J_s has
    J(s and t changed) − J(s changed) = J(t changed) − J for all samples s and t.
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
        if each is None or any(size % program.batch == 0 for size in each.shape) or _adds_up(program, tolerance):
            return False
        none, alone = loss(), [loss(s) for s in range(program.batch)]
        pairs = [(s, t) for t in range(program.batch) for s in range(t)]
        return any(abs(loss(s, t) - alone[s] - alone[t] + none) > tolerance for s, t in pairs)


def _adds_up(program: Program, tolerance: float) -> bool:
    """Whether the loss is a sum over an axis of what it is given, as long as the batch or some batches."""
    ends, tensors = replace(program, steps=()), program.tensors()
    for name in ends.names() - set(tensors):
        given = replace(program, loss=Step("plain", "loss", name)).bind(program.tensors())(True)[1]
        assert given is not None
        tensors[name] = given.detach()
    a = tensors[program.loss.a]
    other = normal(0, *a.shape)

    def adds_up(dim: int) -> bool:
        def loss(*entries: int) -> float:
            index = torch.tensor(entries, dtype=torch.long)
            changed = a.index_copy(dim, index, other.index_select(dim, index))
            return float(ends.bind({**tensors, program.loss.a: changed})()[0])

        none, alone = loss(), [loss(i) for i in range(a.shape[dim])]
        pairs = itertools.combinations(range(a.shape[dim]), 2)
        return all(abs(loss(i, j) - alone[i] - alone[j] + none) <= tolerance for i, j in pairs)

    return any(size % program.batch == 0 and adds_up(dim) for dim, size in enumerate(a.shape))


def readings(program: Program) -> Iterator[Program]:
    """The program with its samples along other axes of data that has several as long as the batch.

    There is none where no data has only one such axis: then nothing but the order of the axes says which is meant.
    """
    data = [leaf for leaf in program.leaves if leaf.axis is not None]
    axes = [[d for d, size in enumerate(leaf.shape) if size == program.batch] for leaf in data]
    if any(len(each) == 1 for each in axes):
        for chosen in itertools.product(*axes):
            new = {leaf.name: replace(leaf, axis=axis) for leaf, axis in zip(data, chosen, strict=True)}
            leaves = tuple(new.get(leaf.name, leaf) for leaf in program.leaves)
            if leaves != program.leaves:
                yield replace(program, leaves=leaves)
