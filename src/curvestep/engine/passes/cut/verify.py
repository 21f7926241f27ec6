"""Checking a cut: every operation's rule is run once without data, with a number of samples that is no size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from curvestep.engine.data.part import Part
from curvestep.engine.data.rule import NotCut
from curvestep.engine.data.samples import SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.cut.build import Builder, cut_shape
from curvestep.engine.passes.cut.derive import RecordingCut
from curvestep.engine.passes.jets import jets_of
from curvestep.engine.rules.site import Site, Spread


def verify(nodes: Sequence[Node], plan: Plan, cut: RecordingCut) -> None:
    """Run every cut operation's rule without data, on a number of samples that no size can be mistaken for."""
    assert plan.batch is not None
    prime = _prime(plan)
    builder = _Dry(Part(plan.batch, prime, range(prime)))
    for step in cut.steps:
        if step.whole:
            continue
        node = nodes[step.node]
        twin = builder.twin_node(node, step)
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


class _Dry(Builder):
    """Twins without data: only their shapes are asked for."""

    def narrow(self, tensor: Tensor, axis: SampleAxis, part: Part | None = None) -> Tensor:
        """Nothing but the shape."""
        return torch.empty(cut_shape(tensor.shape, axis, self.count), dtype=tensor.dtype, device="meta")


def _dry(value: Value) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device="meta")


def _prime(plan: Plan) -> int:
    """A prime that is no size of the tape and no multiple of its batch."""
    sizes = {n for node in plan.steps for v in (*node.inputs, *node.outputs) if v is not None for n in v.shape}
    found = 29
    while found in sizes or any(found % n == 0 for n in range(2, math.isqrt(found) + 1)):
        found += 2
    return found
