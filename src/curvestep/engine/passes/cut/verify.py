"""Checking a cut: every operation's rule is run once without data, with a number of samples that is no size."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from curvestep.engine.data.part import Part
from curvestep.engine.data.rule import NotCut, Rule
from curvestep.engine.data.samples import Owners, Renumbering, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.cut.build import Builder, cut_shape
from curvestep.engine.passes.cut.derive import RecordingCut
from curvestep.engine.passes.jets import jets_of
from curvestep.engine.passes.structure import Key, remember, signature
from curvestep.engine.rules.site import Site, Spread


def verify(nodes: Sequence[Node], plan: Plan, cut: RecordingCut) -> None:
    """Run each cut operation's rule without data, on a number of samples that no size can be mistaken for."""
    assert plan.batch is not None
    primes = _primes(plan)
    prime = next(primes)
    builder = _Dry(Part(plan.batch, prime, range(prime)), {owners: next(primes) for owners in cut.owners})
    for step in cut.steps:
        if step.whole:
            continue
        node = nodes[step.node]
        twin = builder.twin_node(node, step)
        # Where a user names the rows of the samples each batch is cut afresh; its operations are seldom new ones.
        shaped = signature(twin) if plan.owned else None
        key = None if shaped is None else (id(node.rule), *shaped)
        if key is not None and key in _VERIFIED:
            continue
        tangents = {v: _dry(v) for v in twin.inputs if v.needs_grad}
        held = {v: _dry(v) for v in (*twin.inputs, *twin.outputs) if v is not None}
        site = Site(twin, tangents, dict(tangents), held, watched=True)
        try:
            assert twin.rule is not None
            each = [part for jet in jets_of(twin.rule, site) for part in jet]
            shapes = [value for value in twin.outputs for _ in range(2)]
            for value, found in zip(shapes, each, strict=False):
                if found is not None and value is not None and value.needs_grad:
                    like = twin.args[found.like].shape if isinstance(found, Spread) else value.shape
                    (found.terms if isinstance(found, Spread) else found).expand(like)
        except Exception as why:  # whatever a rule raises when a size in its arguments is not that of its input
            raise NotCut(f"{node.name} cannot be run on a part of the batch ({type(why).__name__})") from why
        if key is not None:
            remember(_VERIFIED, key, node.rule, _MOST_ENTRIES)


#: Operations that were run, with their rules, which keeps the ids of these.
_VERIFIED: OrderedDict[Key, Rule | None] = OrderedDict()
_MOST_ENTRIES = 1 << 16  # of all keys together: some thousand operations


class _Dry(Builder):
    """Twins without data: only their shapes are asked for. Rows of their own have numbers of their own."""

    def __init__(self, part: Part, owned: dict[Owners, int]) -> None:
        super().__init__(part)
        self.owned = owned

    def narrow(self, tensor: Tensor, axis: SampleAxis, part: Part | None = None) -> Tensor:
        """Nothing but the shape."""
        count = self.rows(axis) if part is None else part.count
        return torch.empty(cut_shape(tensor.shape, axis, count), dtype=tensor.dtype, device="meta")

    def renumber(self, index: Tensor, how: Renumbering) -> Tensor:
        """Nothing but the shape; a mask becomes the numbers that it stands for."""
        mask = index.dtype in (torch.bool, torch.uint8)
        shape = cut_shape((0,) if mask else index.shape, SampleAxis(how.dim), self.rows(how.rows))
        return torch.empty(shape, dtype=torch.int64 if mask else index.dtype, device="meta")

    def rows(self, axis: SampleAxis) -> int:
        """A prime for each number of rows."""
        return self.count if axis.owners is None else self.owned[axis.owners]

    def axis(self, axis: SampleAxis) -> SampleAxis:
        """The same: whose rows they are is not asked."""
        return axis


def _dry(value: Value) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device="meta")


def _primes(plan: Plan) -> Iterator[int]:
    """Primes that are no size of the tape."""
    sizes = {n for node in plan.steps for v in (*node.inputs, *node.outputs) if v is not None for n in v.shape}
    for found in itertools.count(29, 2):
        if found not in sizes and all(found % n for n in range(2, math.isqrt(found) + 1)):
            yield found
