"""Building the plan of a part of the batch: twins of values and operations with the first samples alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Marker, SampleAxis, first_samples
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.cut.derive import _LIKELIHOODS, _REDUCTIONS, _SUMS, Cut, StepCut
from curvestep.engine.passes.jets import jets_of
from curvestep.engine.rules.alias import ALIAS_UPDATE
from curvestep.engine.rules.loss import MEAN, SUM
from curvestep.engine.rules.table import Jet, Site, Spread, mul

aten = torch.ops.aten

_SIZED = {aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten._reshape_alias.default,
          aten.expand.default}  # fmt: skip


@final
class _TwinSlot:
    """The narrowed cotangent of a value, in the place of its slot."""

    __slots__ = ("cotangent", "kept", "scalar")

    def __init__(self, kept: bool, cotangent: Tensor | None) -> None:
        self.kept = kept
        self.cotangent = cotangent
        self.scalar = False


def cut_plan(nodes: Sequence[Node], cut: Cut, count: int) -> Plan:
    """The plan of the first `count` samples."""
    assert cut.batch is not None and not cut.reason
    return Builder(cut.batch, count).run(nodes, cut)


def cut_shape(shape: Sequence[int], axis: SampleAxis, count: int) -> tuple[int, ...]:
    """A shape with `count` samples along the axis."""
    return (*shape[: axis.dim], axis.outer * count * axis.inner, *shape[axis.dim + 1 :])


class Builder:
    """Makes the twins of one recording."""

    def __init__(self, batch: int, count: int) -> None:
        self.batch, self.count = batch, count
        self.twins: dict[tuple[Value, SampleAxis], Value] = {}
        self.axes: dict[Value, Any] = {}
        self.clean: set[Value] = set()
        self.steps: list[Node] = []
        self.bends: list[bool] = []

    def run(self, nodes: Sequence[Node], cut: Cut) -> Plan:
        """Build the twins of all steps."""
        for index, slot, axis in cut.leaves:
            self._piece(nodes[index].inputs[slot], axis)
        for step in cut.steps:
            node = nodes[step.node]
            self.bends.append(step.bends)
            if not step.whole:
                self.steps.append(self.twin_node(node, step))
                continue
            self.steps.append(node)
            for at, value in enumerate(node.outputs):
                self._adopt(value, step, at)
            for output, axis in step.pieces:
                value = node.outputs[output]
                assert value is not None
                self._piece(value, axis)
        last_use = {value: i for i, node in enumerate(self.steps) for value in node.inputs}
        return Plan(
            tuple(self.steps), last_use, self.count, self.axes, frozenset(self.clean), cut.separable, cut.apart,
            tuple(self.bends),
        )  # fmt: skip

    def _adopt(self, value: Value | None, step: StepCut, at: int) -> None:
        """Let a value without samples, or summed over them, keep its place in the plan."""
        if value is None:
            return
        self.axes[value] = Marker.SUMMED if step.summed[at] else Marker.SHARED
        if step.summed[at] and step.clean[at]:
            self.clean.add(value)

    def _piece(self, value: Value, axis: SampleAxis) -> None:
        """Narrow the tangents of a value that is computed whole; its terms met its cotangent, or are carried on."""
        twin = self.twin(value, axis)
        self.bends.append(True)
        args = (value, axis, self.batch, self.count)
        self.steps.append(Node(PIECE, _PIECE_RULE, args, {}, (value,), (twin,), True, False))

    def twin_node(self, node: Node, step: StepCut) -> Node:
        """The operation on the first samples."""
        swap: dict[Value, Value] = {
            v: self.twin(v, a) for v, a in zip(node.inputs, step.inputs, strict=True) if a is not None
        }
        outputs: list[Value | None] = []
        for at, (value, axis) in enumerate(zip(node.outputs, step.outputs, strict=True)):
            if axis is None:
                self._adopt(value, step, at)
                outputs.append(value)
            else:
                assert value is not None
                outputs.append(self.twin(value, axis, made=True, clean=step.clean[at]))
        args = list(_swapped(a, swap) for a in node.args)
        rule = node.rule
        assert rule is not None
        if node.op in _SIZED:
            assert outputs[0] is not None
            args[1] = list(outputs[0].shape)
        elif node.op is ALIAS_UPDATE:
            for at in (0, 1):  # the first samples of a strided tensor have its strides and its offset
                size, stride, offset = args[2 + at]
                axis = step.inputs[at]
                assert axis is not None
                args[2 + at] = (cut_shape(size, axis, self.count), stride, offset)
        elif node.op is aten.native_group_norm.default:
            args[3] = args[0].shape[0]
        elif node.op is aten.affine_grid_generator.default:
            args[1] = [args[0].shape[0], *args[1][1:]]
        elif node.op in _SUMS and step.outputs[0] is None:
            rule = _grown(rule, self.batch / self.count)
        elif node.op in _REDUCTIONS and step.outputs[0] is None:
            at = _REDUCTIONS[node.op]
            if (args[at] if at < len(args) else MEAN) == SUM:
                rule = _grown(rule, self.batch / self.count)
        elif node.op in _LIKELIHOODS and step.outputs[0] is None:
            if args[3] == MEAN:  # divided by the weights of the whole batch
                args[3] = SUM
                weight = node.outputs[1]
                assert weight is not None and weight.data is not None
                rule = _grown(rule, self.batch / self.count / weight.data)
            else:
                rule = _grown(rule, self.batch / self.count)
        keyed = {k: _swapped(v, swap) for k, v in node.kwargs.items()} if node.kwargs else node.kwargs
        inputs = tuple([swap.get(v, v) for v in node.inputs])
        return Node(node.op, rule, tuple(args), keyed, inputs, tuple(outputs), node.live, node.mutates)

    def twin(self, value: Value, axis: SampleAxis, *, made: bool = False, clean: bool = False) -> Value:
        """The first samples of a value; with its cotangent where its own operation is cut."""
        twin = self.twins.get((value, axis))
        if twin is not None:
            return twin
        twin = Value(cut_shape(value.shape, axis, self.count), value.dtype, None, value.index)
        twin.needs_grad = value.needs_grad
        if value.data is not None:
            twin.data = self.narrow(value.data, axis)
            twin.version = value.version
        slot = value.slot
        if slot is not None and made:
            found = slot.cotangent
            narrowed = None if found is None else self.narrow(found, axis)
            twin.slot = _TwinSlot(slot.kept, narrowed)  # type: ignore[assignment]
        if clean:
            self.clean.add(twin)
        self.axes[twin] = axis
        self.twins[value, axis] = twin
        return twin

    def narrow(self, tensor: Tensor, axis: SampleAxis) -> Tensor:
        """The first samples of a tensor."""
        return first_samples(tensor, axis, self.batch, self.count)


def _swapped(arg: Any, swap: dict[Value, Value]) -> Any:
    if isinstance(arg, Value):
        return swap.get(arg, arg)
    return [_swapped(a, swap) for a in arg] if isinstance(arg, list) else arg


def _grown(rule: Rule, factor: float | Tensor) -> Rule:
    """The rule with its jets multiplied."""

    def grown(t: Tensor | Spread | None) -> Any:
        return Spread(factor * t.terms, t.like) if isinstance(t, Spread) else mul(factor, t)

    def propagate(s: Site) -> list[Jet]:
        return [(grown(a), grown(b)) for a, b in jets_of(rule, s)]

    return replace(rule, propagate=propagate, formula=None)


@final
class Piece:
    """`piece(value, axis, batch, count)`: the first samples of what was computed whole."""

    def __str__(self) -> str:
        return "tape.piece"


PIECE = Piece()


def _piece_jet(s: Site) -> Jet:
    _, axis, batch, count = s.node.args
    dx, ddx = s.d(0), s.dd(0)
    return (
        None if dx is None else first_samples(dx, axis, batch, count),
        None if ddx is None else first_samples(ddx, axis, batch, count),
    )


def _piece_again(s: Site, args: tuple[Any, ...], watched: bool) -> Tensor:
    return first_samples(*args)


_PIECE_RULE = Rule(Kind.LINEAR, _piece_jet, lambda s: s.arg(1), rerun=_piece_again)
