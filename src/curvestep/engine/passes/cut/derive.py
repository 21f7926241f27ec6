"""Cutting a tape at the sample axis: the sweep over k samples of a batch instead of all of them.

With J_k = (1/k) Σ_{s in part} J_s the loss of the part (penalties on weights whole), a cut plan is the plan of J_k:

* a value with samples gets a *twin*, the part of its data and cotangent;
* an operation on such values gets a twin whose explicit sizes are those of the narrowed output;
* a sum over the samples grows by B/k and a mean stays, so that what leaves it belongs to J_k; a mean over rows of which
  samples have different numbers grows by (B/k)·(n/N) for n of N rows, since J_s is B times what sample s adds to J;
* an index by which rows are gathered or added numbers the rows of the part;
* a value without samples is computed as ever; where it meets the samples element by element, it is narrowed there.

Whether an operation may be cut is not taken on trust: its rule is run once on tensors without data whose number of
samples is a prime, and every tangent must come out in the shape of the narrowed output. An operation that fails, that
mixes samples, or whose samples are lost, is not cut, and then the whole batch is measured.

Batch normalisation in training mode mixes them: ẏ holds batch means of ẋ, in ÿ squared. Means over k samples in their
place leave a bias of order 1/k, so first tangents below the last such layer are needed of the whole batch, which is
two of the three products a layer; only the third, V ẋ, could be confined to some rows (their sum, grown by B/k, is
unbiased, though no row of it is a sample's curvature). That saves a quarter of the pass at best and is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from curvestep.engine.data.rule import NotCut, Rule
from curvestep.engine.data.samples import Marker, Owners, Renumbering, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.rules.axes import by_broadcast, elementwise_axis


@final
@dataclass(frozen=True, slots=True)
class StepCut:
    """How one operation of a plan is cut.

    Attributes:
        node: its place on the recording.
        inputs: for each input the axis along which it is narrowed, None where it is taken whole.
        outputs: the same for each output.
        pieces: narrowed versions to make of what this operation computed whole: (output, axis).
        whole: whether the operation runs as recorded.
        bends: as in `Plan`.
        clean: for each output whether it is clean, as in `Plan`.
        summed: for each output whether it is a sum over the samples.
        renumbers: which input numbers rows of samples, where one does.
    """

    node: int
    inputs: tuple[SampleAxis | None, ...]
    outputs: tuple[SampleAxis | None, ...]
    pieces: tuple[tuple[int, SampleAxis], ...]
    whole: bool
    bends: bool
    clean: tuple[bool, ...]
    summed: tuple[bool, ...]
    renumbers: Renumbering | None = None


@final
@dataclass(frozen=True, slots=True)
class RecordingCut:
    """How a tape is cut, whatever the number of samples: it depends on operations and shapes alone.

    Attributes:
        batch: the number of samples; None where no axis was found.
        reason: why the tape cannot be cut; empty if it can.
        steps: the operations that are needed, in order.
        leaves: narrowed versions to make of leaves: (place on the tape and input that read the leaf, axis).
        separable, apart, guessed: as in `Plan`.
        owners: whose rows are narrowed, where samples have rows of different number.
    """

    batch: int | None
    reason: str = ""
    steps: tuple[StepCut, ...] = ()
    leaves: tuple[tuple[int, int, SampleAxis], ...] = ()
    separable: bool = False
    apart: bool = False
    guessed: bool = False
    owners: tuple[Owners, ...] = ()


def derive(plan: Plan, root: Value, place: dict[Node, int]) -> RecordingCut:
    """Ask, from the loss back, how each value is needed; raise `NotCut` where samples cannot be told apart."""
    if plan.batch is None:
        raise NotCut("no sample axis was found; give record() the number of samples")
    if not plan.separable:
        by_index = " (as where an index leads from rows of one to rows of another)" if plan.owned else ""
        raise NotCut(f"samples mix, or their axis is lost, on the way to the loss{by_index}")
    wanted: dict[Value, set[SampleAxis | None]] = {root: {None}}
    steps: list[StepCut] = []
    for index in range(len(plan.steps) - 1, -1, -1):
        node = plan.steps[index]
        found = _of_step(plan, node, wanted)
        if found is None:
            continue
        inputs, outputs, pieces, whole, renumbers = found
        clean = tuple([v in plan.clean for v in node.outputs])
        summed = tuple([v is not None and plan.axes.get(v) is Marker.SUMMED for v in node.outputs])
        step = StepCut(place[node], inputs, outputs, pieces, whole, plan.bends[index], clean, summed, renumbers)
        if plan.owned:
            _require_own_rows(plan, node, step)
        steps.append(step)
        for value, axis in zip(node.inputs, inputs, strict=True):
            wanted.setdefault(value, set()).add(axis)
    steps.reverse()
    leaves: list[tuple[int, int, SampleAxis]] = []
    made = {v for node in plan.steps for v in node.outputs}
    nodes = {index: node for node, index in place.items()}
    for step in steps:
        for slot, value in enumerate(nodes[step.node].inputs):
            if value.needs_grad and value not in made and value in wanted:
                leaves += [(step.node, slot, axis) for axis in sorted_axes(wanted.pop(value))]
    owners = tuple(dict.fromkeys(a.owners for step in steps for a in _axes_of(step) if a.owners is not None))
    return RecordingCut(plan.batch, "", tuple(steps), tuple(leaves), plan.separable, plan.apart, plan.guessed, owners)


Axes = tuple["SampleAxis | None", ...]
#: Inputs, outputs, pieces, whole and renumbers of a StepCut.
Found = tuple[Axes, Axes, tuple[tuple[int, SampleAxis], ...], bool, "Renumbering | None"]


def _axes_of(step: StepCut) -> list[SampleAxis]:
    """All axes along which a step is narrowed."""
    return [a for a in (*step.inputs, *step.outputs, *[axis for _, axis in step.pieces]) if a is not None]


def _require_own_rows(plan: Plan, node: Node, step: StepCut) -> None:
    """Refuse a cut by which a value would be taken whole, or narrowed to other rows than those of its own samples."""
    pieces = [(node.outputs[at], axis) for at, axis in step.pieces]
    reads = [] if step.whole else [*zip(node.inputs, step.inputs, strict=True)]
    if step.renumbers is not None:
        del reads[step.renumbers.at]
    for value, axis in (*reads, *zip(node.outputs, step.outputs, strict=True), *pieces):
        own = None if value is None else _own_axis(plan.axes.get(value))
        if value is None or (axis is None and own is None):
            continue
        fits = axis is not None and value.shape[axis.dim] == axis.outer * axis.count(plan.batch or 1) * axis.inner
        if not fits or own not in (None, axis):
            raise NotCut(f"{node.name} reads or makes rows that are not those of the samples which it is cut to")


def _of_step(plan: Plan, node: Node, wanted: dict[Value, set[SampleAxis | None]]) -> Found | None:
    """How one operation is cut, given how its outputs are wanted."""
    asked = [wanted.get(v, set()) if v is not None else set() for v in node.outputs]
    if not any(asked):
        return None
    axes = plan.axes
    own = [axes.get(v, Marker.SHARED) if v is not None else Marker.SHARED for v in node.outputs]
    narrow = all(None not in a and a <= {o} for a, o in zip(asked, own, strict=True))
    if narrow:
        inputs, renumbers = _needs(plan, node, own, asked)
        return inputs, _narrowed_outputs(node, own), (), False, renumbers
    sums = [a for a, o in zip(asked, own, strict=True) if a and o is Marker.SUMMED]
    if sums and any(isinstance(axes.get(v), SampleAxis) for v in node.inputs):
        _require_reduction(plan, node)
        inputs = tuple([_own_axis(axes.get(v)) for v in node.inputs])
        kept = () if node.rule is None else node.rule.keep_outputs
        outputs = tuple([_own_axis(o) if i in kept else None for i, o in enumerate(own)])
        return inputs, outputs, (), False, None
    if any([v.needs_grad and axes.get(v) is Marker.LOST for v in node.inputs]):
        # Whatever does not bend may lose its samples and the whole is still split; the slope of a part is not.
        raise NotCut(f"the samples are lost in what {node.name} reads")
    pieces = tuple([(i, a) for i, each in enumerate(asked) for a in sorted_axes(each)])
    return (None,) * len(node.inputs), (None,) * len(node.outputs), pieces, True, None


def sorted_axes(axes: set[SampleAxis | None]) -> list[SampleAxis]:
    """The axes among them, in one order."""
    return sorted((a for a in axes if a is not None), key=lambda a: (a.dim, a.outer, a.inner))


def _own_axis(known: Any) -> SampleAxis | None:
    return known if isinstance(known, SampleAxis) else None


def _require_reduction(plan: Plan, node: Node) -> None:
    """Refuse a sum over samples that is not a plain one of a known operation, on its way to the loss alone."""
    moving = [v for v in (*node.inputs, *node.outputs) if v is not None and v.needs_grad]
    if node.rule is None or node.rule.reduces is None:
        raise NotCut(f"{node.name} reduces over the samples in a way that is not known to the cut")
    if not all(v in plan.clean or plan.axes.get(v) is Marker.SHARED for v in moving):
        raise NotCut(f"what {node.name} sums over the samples does not go to the loss alone")


def _narrowed_outputs(node: Node, own: Sequence[Any]) -> tuple[SampleAxis | None, ...]:
    rule = node.rule
    found: list[SampleAxis | None] = []
    for i, axis in enumerate(own):
        if axis is Marker.LOST and rule is not None and i in rule.keep_outputs:
            if rule.cut.statistics is None:
                raise NotCut(f"the samples are lost in what {node.name} keeps")
            axis = rule.cut.statistics(node, own[0])
        found.append(_own_axis(axis))
    return tuple(found)


def _needs(
    plan: Plan, node: Node, own: Sequence[Any], asked: Sequence[set[SampleAxis | None]]
) -> tuple[Axes, Renumbering | None]:
    """How the inputs of an operation with narrowed outputs are needed, and which of them numbers rows."""
    rule = node.rule
    if rule is None:
        raise NotCut(f"{node.name} has no rule")
    spoiled = [v for v in node.inputs if v.needs_grad and isinstance(plan.axes.get(v), SampleAxis)]
    if not all(v in plan.clean for v in spoiled):
        raise NotCut(f"samples mix behind {node.name}")
    at = next(i for i, each in enumerate(asked) if each)
    out, value = own[at], node.outputs[at]
    assert isinstance(out, SampleAxis) and value is not None
    if plan.owned and rule.cut.renumbers is not None:
        axes = [plan.axes.get(v, Marker.SHARED) for v in node.inputs]
        renumbered = rule.cut.renumbers(node, axes, out)
        if renumbered is not None:
            return tuple(renumbered[0]), renumbered[1]
    aligned = _aligned(node, rule, out, value)
    found: list[SampleAxis | None] = []
    for v in node.inputs:
        axis = aligned(v) if aligned is not None else _own_axis(plan.axes.get(v))
        if axis is None and v.needs_grad and plan.axes.get(v) is not Marker.SHARED and aligned is None:
            raise NotCut(f"{node.name} reads a sum over the samples or something in which they are lost")
        found.append(axis)
    counting = None if rule.cut.counts is None else rule.cut.counts(node, found, plan.batch or 1)
    if counting is not None:
        found = [counting[1] if v is counting[0] else a for v, a in zip(node.inputs, found, strict=True)]
    return tuple(found), None


def _aligned(node: Node, rule: Rule, out: SampleAxis, result: Value) -> Callable[[Value], SampleAxis | None] | None:
    """Where the inputs' axes are those of the output, whatever they were taken for: by position, not by origin."""
    if rule.axis is elementwise_axis:
        return by_broadcast(node, out, result)
    return None if rule.cut.aligned is None else rule.cut.aligned(node, out, result)
