"""Building the plan of a part of the batch: twins of values and operations with its samples alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

from torch import Tensor

from curvestep.engine.data.part import Part
from curvestep.engine.data.rule import MEAN, SUM, Kind, Reduction, Rule
from curvestep.engine.data.samples import Marker, Renumbering, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.cut.derive import RecordingCut, StepCut
from curvestep.engine.passes.jets import jets_of
from curvestep.engine.rules.site import Jet, Site, Spread
from curvestep.engine.rules.tangents import mul


@final
class _TwinSlot:
    """The narrowed cotangent of a value, in the place of its slot."""

    __slots__ = ("cotangent", "kept", "scalar")

    def __init__(self, kept: bool, cotangent: Tensor | None) -> None:
        self.kept = kept
        self.cotangent = cotangent
        self.scalar = False


def cut_plan(nodes: Sequence[Node], cut: RecordingCut, part: Part) -> Plan:
    """The plan of some samples."""
    assert cut.batch == part.batch and not cut.reason
    return Builder(part).run(nodes, cut)


def cut_shape(shape: Sequence[int], axis: SampleAxis, count: int) -> tuple[int, ...]:
    """A shape with `count` samples along the axis."""
    return (*shape[: axis.dim], axis.outer * count * axis.inner, *shape[axis.dim + 1 :])


class Builder:
    """Makes the twins of one recording."""

    def __init__(self, part: Part) -> None:
        self.part, self.batch, self.count = part, part.batch, part.count
        self.twins: dict[tuple[Value, SampleAxis], Value] = {}
        self.axes: dict[Value, Any] = {}
        self.clean: set[Value] = set()
        self.steps: list[Node] = []
        self.bends: list[bool] = []

    def run(self, nodes: Sequence[Node], cut: RecordingCut) -> Plan:
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
            tuple(self.bends), guessed=cut.guessed,
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
        args = (value, axis, self.part)
        self.steps.append(Node(PIECE, _PIECE_RULE, args, {}, (value,), (twin,), True, False))

    def twin_node(self, node: Node, step: StepCut) -> Node:
        """The operation on the samples of the part."""
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
        rule = node.rule
        assert rule is not None
        if step.renumbers is not None:
            index = node.inputs[step.renumbers.at]
            swap[index] = self._renumbered(index, step.renumbers)
        elif rule.cut.counts is not None:
            counting = rule.cut.counts(node, step.inputs, self.batch)
            if counting is not None:
                swap[counting[0]] = self._recounted(*counting)
        args = list(_swapped(a, swap) for a in node.args)
        shape = () if outputs[0] is None else outputs[0].shape
        if rule.cut.sizes is not None:

            def narrowed(at: int, size: Sequence[int]) -> tuple[int, ...]:
                axis = step.inputs[at]
                assert axis is not None
                return cut_shape(size, axis, self.rows(axis))

            args = rule.cut.sizes(args, shape, narrowed)
        if rule.reduces is not None and step.outputs[0] is None:
            args, rule = self._reduced(node, step, rule, rule.reduces, args)
        keyed = {k: _swapped(v, swap) for k, v in node.kwargs.items()} if node.kwargs else node.kwargs
        inputs = tuple([swap.get(v, v) for v in node.inputs])
        return Node(node.op, rule, tuple(args), keyed, inputs, tuple(outputs), node.live, node.mutates)

    def _reduced(
        self, node: Node, step: StepCut, rule: Rule, reduction: Reduction, args: list[Any]
    ) -> tuple[list[Any], Rule]:
        """What sums over the samples: a sum grows by B/k, a mean by the weights of all samples becomes such a sum."""
        grow: float | Tensor = self.batch / self.count
        mode = reduction.mode(args)
        if mode == MEAN and reduction.weights is not None and isinstance(reduction.by, int):
            weights = node.outputs[reduction.weights]
            assert weights is not None and weights.data is not None
            args[reduction.by] = SUM
            return args, _grown(rule, grow / weights.data)
        axis = next((a for a in step.inputs if a is not None and a.owners is not None), None)
        if mode == MEAN and axis is not None:  # over n rows, but the sum is to be divided by all N
            return args, _grown(rule, grow * self.rows(axis) / axis.count(self.batch))
        return args, _grown(rule, grow) if mode == SUM else rule

    def _recounted(self, value: Value, axis: SampleAxis) -> Value:
        """An index that numbers the samples: those of the part are numbered from 0."""
        count = self.rows(axis)
        twin = Value(cut_shape(value.shape, axis, count), value.dtype, None, value.index)
        assert value.data is not None
        first = Part(axis.count(self.batch), count, range(count))
        twin.data = self.narrow(value.data, replace(axis, owners=None), first)
        return twin

    def _renumbered(self, value: Value, how: Renumbering) -> Value:
        """An index of rows: its own rows, numbering those of the part."""
        assert value.data is not None and not value.overwritten
        data = self.renumber(value.data, how)
        twin = Value(tuple(data.shape), data.dtype, None, value.index)
        twin.data = data
        return twin

    def twin(self, value: Value, axis: SampleAxis, *, made: bool = False, clean: bool = False) -> Value:
        """The part of a value; with its cotangent where its own operation is cut."""
        twin = self.twins.get((value, axis))
        if twin is not None:
            return twin
        twin = Value(cut_shape(value.shape, axis, self.rows(axis)), value.dtype, None, value.index)
        twin.needs_grad = value.needs_grad
        if value.data is not None:
            if value.overwritten:
                twin.data, twin.version = value.data, value.version  # overwritten since: refused where it is read
            else:
                twin.data = self.narrow(value.data, axis)
        slot = value.slot
        if slot is not None and made:
            found = slot.cotangent
            narrowed = None if found is None else self.narrow(found, axis)
            twin.slot = _TwinSlot(slot.kept, narrowed)  # type: ignore[assignment]
        if clean:
            self.clean.add(twin)
        self.axes[twin] = self.axis(axis)
        self.twins[value, axis] = twin
        return twin

    def narrow(self, tensor: Tensor, axis: SampleAxis, part: Part | None = None) -> Tensor:
        """The samples of the part, or of another one."""
        return (part or self.part).read(tensor, axis)

    def renumber(self, index: Tensor, how: Renumbering) -> Tensor:
        """An index of rows for the part."""
        return self.part.renumbered(index, how)

    def rows(self, axis: SampleAxis) -> int:
        """How many rows of their own the samples of the part have along an axis."""
        return self.part.count_of(axis)

    def axis(self, axis: SampleAxis) -> SampleAxis:
        """The axis of a twin."""
        return self.part.axis_of(axis)


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
    """`piece(value, axis, part)`: the samples of a part, of what was computed whole."""

    def __str__(self) -> str:
        return "tape.piece"


PIECE = Piece()


def _piece_jet(s: Site) -> Jet:
    _, axis, part = s.node.args
    return s.through(lambda t: part.read(t, axis))


def _piece_again(s: Site, args: tuple[Any, ...], watched: bool) -> Tensor:
    value, axis, part = args
    return part.read(value, axis)


_PIECE_RULE = Rule(Kind.LINEAR, _piece_jet, lambda s: s.arg(1), rerun=_piece_again)
