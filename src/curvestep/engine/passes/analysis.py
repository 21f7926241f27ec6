"""What a tape's graph says before any tangent is pushed: what matters, where the samples are, who mixes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import final

from curvestep._errors import SampleAxisError
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.annotation import Notes, annotate
from curvestep.engine.passes.batch import find_batch, find_source
from curvestep.engine.rules.site import AxisSite


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """How one sweep over the tape goes, for one set of moving leaves.

    Attributes:
        steps: the operations between the moving leaves and the root, in order.
        last_use: for each value, the index of the last step that reads it.
        batch: the number of samples; None if no axis was found.
        axes: the annotation of every value.
        clean: values whose rows belong to one sample each, all the way to the loss: there a second-order term may
            meet its cotangent row by row.
        separable: whether every second-order term meets its cotangent at a clean value if it is carried there, so
            that the split over samples is exact.
        apart: whether every second-order term arises at a clean value, so that nothing has to be carried.
        bends: for each step whether the second-order terms that arise in it count; elsewhere only first tangents do.
        foreign: as in `Notes`.
        alone: whether one sample is the whole batch.
        guessed: whether the number of samples was read off the data.
        owned: whether samples have rows of different number.
    """

    steps: tuple[Node, ...]
    last_use: dict[Value, int]
    batch: int | None
    axes: dict[Value, Annotation]
    clean: frozenset[Value]
    separable: bool
    apart: bool
    bends: tuple[bool, ...]
    foreign: Set[Value] = frozenset()
    alone: bool = False
    guessed: bool = False
    owned: bool = False


def analyse(
    recording: Recording, root: Value, moving: Iterable[Value] | None = None, computed: Iterable[Value] | None = None
) -> Plan:
    """Plan the sweep to the root.

    Args:
        recording: what was written down.
        root: the loss.
        moving: the leaves that move; every leaf that requires a gradient by default.
        computed: the leaves from which a pass computes what it needs, where these are more: inputs by which the loss is
            differentiated are among them, and are data all the same.

    Returns:
        The plan.
    """
    start = {v for _, v in recording.leaves.values() if v.needs_grad} if moving is None else set(moving)
    reached = _forward(recording.nodes, start)
    steps = _backward(recording.nodes, reached if computed is None else _forward(recording.nodes, set(computed)), root)
    last_use = {value: i for i, node in enumerate(steps) for value in node.inputs}
    everywhere = (True,) * len(steps)
    stated = recording.stated_batch_size
    batch = stated or find_batch(recording.nodes, reached)
    if batch is None:
        return Plan(steps, last_use, None, {}, frozenset(), separable=False, apart=False, bends=everywhere)
    notes = annotate(recording, reached, batch)
    if stated is not None and stated > 1:
        _require_samples(recording, reached, steps, notes.axes, stated)
    clean = _clean(steps, root, notes, batch)
    curved = [node for node in steps if _curved(node)]
    separable = _separable(steps, curved, root, notes.axes, clean, notes.foreign)
    separable = separable and (stated is not None or notes.axes.get(root) is not Marker.SHARED)
    return Plan(
        steps,
        last_use,
        batch,
        notes.axes,
        clean,
        separable,
        apart=separable and _apart(curved, clean, last_use),
        bends=everywhere,
        foreign=notes.foreign,
        alone=batch == 1 and (stated == 1 or not notes.foreign),
        guessed=stated is None,
        owned=recording.owners is not None,
    )


def gauss_newton(plan: Plan, root: Value, moving: Iterable[Value]) -> Plan:
    """Let second-order terms count only in the loss: behind the last operation that reads a moving leaf.

    An operation is part of the loss if neither it nor any operation between it and the root reads a moving leaf, or
    multiplies activations by what was made of such leaves alone (a transposed, cast or normalised weight). A penalty
    made of leaves alone may still be added to the loss.

    Returns:
        The plan of dᵀ Jᵀ ∇²ℓ J d, where ℓ is that part and J the Jacobian of everything before it.
    """
    leaves = set(moving)
    made = _made_of(plan, leaves)
    before: set[Value] = set()  # values that an operation outside the loss reads
    bends = [False] * len(plan.steps)
    for index in range(len(plan.steps) - 1, -1, -1):
        node = plan.steps[index]
        reads = any(v in leaves for v in node.inputs) or (
            _curved(node) and any(v in made for v in node.inputs) and any(v not in made for v in node.inputs)
        )
        if reads or any(v in before for v in node.outputs if v is not None):
            before.update(node.inputs)
        else:
            bends[index] = True
    curved = [node for node, bent in zip(plan.steps, bends, strict=True) if bent and _curved(node)]
    separable = plan.batch is not None and _separable(plan.steps, curved, root, plan.axes, plan.clean, plan.foreign)
    apart = separable and _apart(curved, plan.clean, plan.last_use)
    return replace(plan, separable=separable, apart=apart, bends=tuple(bends))


def _made_of(plan: Plan, leaves: set[Value]) -> set[Value]:
    """The leaves and what is computed from them, and from constants without samples, alone."""
    made = set(leaves)
    for node in plan.steps:
        if all(v in made or (not v.needs_grad and plan.axes.get(v) is Marker.SHARED) for v in node.inputs):
            made.update(v for v in node.outputs if v is not None)
    return made


def _apart(curved: Sequence[Node], clean: frozenset[Value], last_use: dict[Value, int]) -> bool:
    """Whether every second-order term arises at a clean value."""
    return all(v is None or v in clean or v not in last_use for n in curved for v in n.outputs)


def _forward(nodes: Sequence[Node], start: set[Value]) -> set[Value]:
    """Values that depend on the moving leaves."""
    reached = set(start)
    for node in nodes:
        if node.live and any(v in reached for v in node.inputs):
            reached.update(v for v in node.outputs if v is not None and v.needs_grad)
    return reached


def _backward(nodes: Sequence[Node], reached: set[Value], root: Value) -> tuple[Node, ...]:
    """Operations on a path from a reached value to the root."""
    wanted = {root}
    steps: list[Node] = []
    for node in reversed(nodes):
        if any(v in wanted for v in node.outputs if v is not None) and any(v in reached for v in node.inputs):
            steps.append(node)
            wanted.update(v for v in node.inputs if v in reached)
    return tuple(reversed(steps))


def _require_samples(
    recording: Recording, reached: set[Value], steps: Sequence[Node], axes: dict[Value, Annotation], stated: int
) -> None:
    """Refuse a stated number of samples that no tensor between the parameters and the loss has."""
    if any(isinstance(axes.get(v), SampleAxis) or axes.get(v) is Marker.LOST for node in steps for v in node.inputs):
        return
    found = find_source(recording.nodes, reached, recording.rows)
    seen = (
        "no data meets a parameter" if found is None else f"the data that meets a parameter has shape {found[0].shape}"
    )
    if recording.owners is not None:
        raise SampleAxisError(
            f"Data with the {recording.rows} rows that samples= names was needed, but {seen}. Pass one number for each "
            "row of the leading axis of the inputs: the sample that it belongs to."
        )
    raise SampleAxisError(
        f"An axis of the {stated} samples that batch_size states was needed, but {seen}. State the number of samples "
        "that the recorded loss is the mean of, or leave batch_size out."
    )


# -- who mixes samples ------------------------------------------------------------------------------------------------


def _curved(node: Node) -> bool:
    """Whether an operation has a second derivative in what moves; one without a rule counts as curved."""
    return node.rule is None or node.rule.curved([isinstance(a, Value) and a.needs_grad for a in node.args])


def _clean(steps: Sequence[Node], root: Value, notes: Notes, batch: int) -> frozenset[Value]:
    """Values whose every path to the root keeps the samples apart until a plain sum over them."""
    axes, confirmed = notes.axes, notes.confirmed
    spoiled: set[Value] = set()
    used: set[Value] = {root}
    for node in reversed(steps):
        outputs = [v for v in node.outputs if v is not None and v in used]
        couples = None if node.rule is None else node.rule.couples
        mixes = couples is not None and couples(AxisSite(node, axes, batch))
        mixes = mixes or any([v in spoiled for v in outputs])
        after = [axes.get(v, Marker.LOST) for v in outputs]
        for value in node.inputs:
            used.add(value)
            known = axes.get(value, Marker.SHARED)
            if isinstance(known, SampleAxis):
                # a curved loss that reduces hands out its terms before the sum, so it keeps the samples apart too
                sums = value in confirmed
                fine = all([isinstance(a, SampleAxis) or (sums and a is Marker.SUMMED) for a in after])
            else:
                fine = known is Marker.SUMMED and all(a is Marker.SUMMED for a in after) and not _curved(node)
            if mixes or not fine:
                spoiled.add(value)
    held = used - spoiled
    return frozenset(v for v in held if isinstance(axes.get(v), SampleAxis) or axes.get(v) is Marker.SUMMED)


def _separable(
    steps: Sequence[Node],
    curved: Sequence[Node],
    root: Value,
    axes: dict[Value, Annotation],
    clean: frozenset[Value],
    foreign: Set[Value],
) -> bool:
    """Whether carrying second-order terms until they reach a clean value splits them all exactly.

    A term of a shared value that reaches the loss through sums alone (a penalty on weights) belongs to every sample
    alike, which is exact as well; a term of the batch that reaches the root unsplit is not, nor is one of other data.

    Returns:
        Whether all terms are split exactly.
    """
    consumers: dict[Value, list[Node]] = {}
    for node in steps:
        for value in node.inputs:
            consumers.setdefault(value, []).append(node)
    exact: dict[Value, bool] = {}  # a term carried at this value will be split exactly

    def arrives(source: Value, out: Value) -> bool:
        shared = axes.get(source, Marker.SHARED) is Marker.SHARED and source not in foreign
        if shared and axes.get(out) is Marker.SUMMED and out in clean:
            return True
        return exact.get(out, False)

    for node in reversed(steps):
        for value in node.outputs:
            if value is None or (value is not root and value not in consumers):
                continue
            if value is root:
                exact[value] = axes.get(value) is Marker.SHARED and value not in foreign
            elif value in clean and isinstance(axes[value], SampleAxis):
                exact[value] = True
            else:
                outs = [
                    o for n in consumers[value] for o in n.outputs if o is not None and (o in consumers or o is root)
                ]
                exact[value] = bool(outs) and all(arrives(value, o) for o in outs)
    for node in curved:
        for value in node.outputs:
            if value not in exact or value is None:
                continue
            spreads = axes.get(value) is Marker.SUMMED and value in clean
            spreads = spreads and not any(axes.get(v) is Marker.SUMMED for v in node.inputs)
            if not (exact[value] or spreads):
                return False
    return True
