"""Cutting a tape at the sample axis: the sweep over the first k samples of a batch instead of all of them.

A batch is drawn at random, so its first k samples are a random sample of it, and along axis 0 they are a view. With
J_k = (1/k) Σ_{s<k} J_s the loss of the cut (penalties on weights whole), a cut plan is the plan of J_k:

* a value with samples gets a *twin*, narrowed views of its data and cotangent;
* an operation on such values gets a twin whose explicit sizes are those of the narrowed output;
* a sum over the samples grows by B/k and a mean stays, so that what leaves it belongs to J_k;
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

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import Parameter

from curvestep.engine.analysis import Plan, analyse, gauss_newton
from curvestep.engine.curvature import Order
from curvestep.engine.rules.alias import ALIAS_UPDATE, seen_from
from curvestep.engine.rules.loss import MEAN, SUM
from curvestep.engine.rules.table import Jet, Kind, Rule, Site, Spread, elementwise_axis, mul
from curvestep.engine.samples import Marker, SampleAxis, first_samples
from curvestep.engine.tape import Node, Tape, Value

aten = torch.ops.aten

_SIZED = {aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten._reshape_alias.default,
          aten.expand.default}  # fmt: skip
_SUMS = {aten.sum.default, aten.sum.dim_IntList}
_MEANS = {aten.mean.default, aten.mean.dim}
_LIKELIHOODS = {aten.nll_loss_forward.default, aten.nll_loss2d_forward.default}
#: Losses that reduce as their argument says: where it is.
_REDUCTIONS = {
    aten.mse_loss.default: 2, aten.smooth_l1_loss.default: 2, aten.huber_loss.default: 2,
    aten.soft_margin_loss.default: 2, aten.binary_cross_entropy.default: 3,
    aten.binary_cross_entropy_with_logits.default: 4,
}  # fmt: skip
#: Products of batches: every input with as many axes as the output has the batch first.
_BATCHED = {
    aten.bmm.default, aten.baddbmm.default, aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default, aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip
_BATCH_NORMS = {aten.native_batch_norm.default, aten.cudnn_batch_norm.default, aten.miopen_batch_norm.default,
                aten._native_batch_norm_legit.default}  # fmt: skip


class NotCut(Exception):
    """Why a plan cannot be cut, for `Cut.reason`; never leaves the engine."""


@final
@dataclass(frozen=True, slots=True)
class StepCut:
    """How one operation of a plan is cut.

    Attributes:
        node: its place on the tape.
        inputs: for each input the axis along which it is narrowed, None where it is taken whole.
        outputs: the same for each output.
        pieces: narrowed versions to make of what this operation computed whole: (output, axis).
        whole: whether the operation runs as recorded.
        bends: as in `Plan`.
        clean: for each output whether it is clean, as in `Plan`.
        summed: for each output whether it is a sum over the samples.
    """

    node: int
    inputs: tuple[SampleAxis | None, ...]
    outputs: tuple[SampleAxis | None, ...]
    pieces: tuple[tuple[int, SampleAxis], ...]
    whole: bool
    bends: bool
    clean: tuple[bool, ...]
    summed: tuple[bool, ...]


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """How a tape is cut, whatever the number of samples: it depends on operations and shapes alone.

    Attributes:
        batch: the number of samples; None where no axis was found.
        reason: why the tape cannot be cut; empty if it can.
        steps: the operations that are needed, in order.
        leaves: narrowed versions to make of leaves: (place on the tape and input that read the leaf, axis).
        separable, apart: as in `Plan`.
    """

    batch: int | None
    reason: str = ""
    steps: tuple[StepCut, ...] = ()
    leaves: tuple[tuple[int, int, SampleAxis], ...] = ()
    separable: bool = False
    apart: bool = False


# -- how to cut -------------------------------------------------------------------------------------------------------


def find_cut(tape: Tape, root: Value, moving: Iterable[Value], kind: Order) -> Cut:
    """How to cut the tape, or why that cannot be done; a tape of known structure is not looked at twice."""
    moving = set(moving)
    computed = tape.computed_from(moving)
    key = _structure(tape, root, moving, kind) if computed == moving else None
    known = None if key is None else _CUTS.get(key)
    if known is not None:
        _CUTS.move_to_end(key)
        return known
    plan = analyse(tape, root, computed)
    if kind == "ggn":
        plan = gauss_newton(plan, root, moving)
    try:
        found = _derive(plan, root, {node: i for i, node in enumerate(tape.nodes)})
        _verify(tape, plan, found)
    except NotCut as why:
        found = Cut(plan.batch, str(why))
    if key is not None:
        _CUTS[key] = found
        if len(_CUTS) > _MOST_CUTS:
            _CUTS.popitem(last=False)
    return found


_CUTS: OrderedDict[Any, Cut] = OrderedDict()
_MOST_CUTS = 64
_PLAIN = {int, float, bool, str, complex, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format}
#: Operations whose axis rule reads values or strides, not only shapes.
_READ_VALUES = {aten.index.Tensor, aten.as_strided.default, aten.as_strided_.default}


def _structure(tape: Tape, root: Value, moving: set[Value], kind: Order) -> Any:
    """All that a cut depends on, hashable and without tensors; None where it depends on more."""
    number: dict[Value, int] = {}
    parts: list[Any] = [tape.stated_batch_size, kind]

    def seen(value: Value) -> Any:
        known = number.get(value)
        if known is not None:
            return known
        number[value] = len(number)
        if value.origin is not None:
            return value.shape, value.dtype, value.needs_grad
        return value.shape, value.dtype, value.needs_grad, value in moving, type(value.data) is Parameter

    def plain(arg: Any) -> Any:
        kind = type(arg)
        if kind is Value:
            return seen(arg)
        if kind in _PLAIN:
            return arg
        if kind is list or kind is tuple:
            return tuple([plain(a) for a in arg])
        raise _Opaque

    try:
        for node in tape.nodes:
            if node.op in _READ_VALUES:
                return None
            parts.append(node.op if node.rule is not None else (node.op, None))  # it may be given one later
            parts += [plain(a) for a in node.args]
            if node.kwargs:
                parts += [(k, plain(v)) for k, v in node.kwargs.items()]
            parts += [None if v is None else seen(v) for v in node.outputs]
    except _Opaque:
        return None
    parts.append(number.get(root))
    return tuple(parts)


class _Opaque(Exception):
    """An argument of which only its own code knows what it does."""


def _derive(plan: Plan, root: Value, place: dict[Node, int]) -> Cut:
    """Ask, from the loss back, how each value is needed; raise `NotCut` where samples cannot be told apart."""
    if plan.batch is None:
        raise NotCut("no sample axis was found; give record() the number of samples")
    if not plan.separable:
        raise NotCut("samples mix, or their axis is lost, on the way to the loss")
    wanted: dict[Value, set[SampleAxis | None]] = {root: {None}}
    steps: list[StepCut] = []
    for index in range(len(plan.steps) - 1, -1, -1):
        node = plan.steps[index]
        found = _of_step(plan, node, wanted)
        if found is None:
            continue
        inputs, outputs, pieces, whole = found
        clean = tuple([v in plan.clean for v in node.outputs])
        summed = tuple([v is not None and plan.axes.get(v) is Marker.SUMMED for v in node.outputs])
        steps.append(StepCut(place[node], inputs, outputs, pieces, whole, plan.bends[index], clean, summed))
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
    return Cut(plan.batch, "", tuple(steps), tuple(leaves), plan.separable, plan.apart)


Found = tuple[
    tuple["SampleAxis | None", ...], tuple["SampleAxis | None", ...], tuple[tuple[int, SampleAxis], ...], bool
]  # inputs, outputs, pieces and whole of a StepCut


def _of_step(plan: Plan, node: Node, wanted: dict[Value, set[SampleAxis | None]]) -> Found | None:
    """How one operation is cut, given how its outputs are wanted."""
    asked = [wanted.get(v, set()) if v is not None else set() for v in node.outputs]
    if not any(asked):
        return None
    axes = plan.axes
    own = [axes.get(v, Marker.SHARED) if v is not None else Marker.SHARED for v in node.outputs]
    narrow = all(None not in a and a <= {o} for a, o in zip(asked, own, strict=True))
    if narrow:
        return _needs(plan, node, own, asked), _narrowed_outputs(node, own), (), False
    sums = [a for a, o in zip(asked, own, strict=True) if a and o is Marker.SUMMED]
    if sums and any(isinstance(axes.get(v), SampleAxis) for v in node.inputs):
        _require_reduction(plan, node)
        inputs = tuple([_own_axis(axes.get(v)) for v in node.inputs])
        return inputs, (None,) * len(node.outputs), (), False
    pieces = tuple([(i, a) for i, each in enumerate(asked) for a in sorted_axes(each)])
    return (None,) * len(node.inputs), (None,) * len(node.outputs), pieces, True


def sorted_axes(axes: set[SampleAxis | None]) -> list[SampleAxis]:
    """The axes among them, in one order."""
    return sorted((a for a in axes if a is not None), key=lambda a: (a.dim, a.outer, a.inner))


def _own_axis(known: Any) -> SampleAxis | None:
    return known if isinstance(known, SampleAxis) else None


def _require_reduction(plan: Plan, node: Node) -> None:
    """Refuse a sum over samples that is not a plain one of a known operation, on its way to the loss alone."""
    known = node.op in _SUMS or node.op in _MEANS or node.op in _LIKELIHOODS or node.op in _REDUCTIONS
    moving = [v for v in (*node.inputs, *node.outputs) if v is not None and v.needs_grad]
    if not known:
        raise NotCut(f"{node.name} reduces over the samples in a way that is not known to the cut")
    if not all(v in plan.clean or plan.axes.get(v) is Marker.SHARED for v in moving):
        raise NotCut(f"what {node.name} sums over the samples does not go to the loss alone")


def _narrowed_outputs(node: Node, own: Sequence[Any]) -> tuple[SampleAxis | None, ...]:
    kept = () if node.rule is None else node.rule.keep_outputs
    found: list[SampleAxis | None] = []
    for i, axis in enumerate(own):
        if axis is Marker.LOST and i in kept:
            axis = _statistics_axis(node, own[0])
        found.append(_own_axis(axis))
    return tuple(found)


def _statistics_axis(node: Node, first: Any) -> SampleAxis | None:
    """The axis of the statistics that batch norm keeps where samples were folded into channels (instance norm)."""
    if node.op in _BATCH_NORMS:
        if not node.args[5]:
            return None  # in evaluation mode they are not read
        if isinstance(first, SampleAxis) and first.dim == 1:
            return SampleAxis(0, first.outer, first.inner)
    raise NotCut(f"the samples are lost in what {node.name} keeps")


def _needs(
    plan: Plan, node: Node, own: Sequence[Any], asked: Sequence[set[SampleAxis | None]]
) -> tuple[SampleAxis | None, ...]:
    """How the inputs of an operation with narrowed outputs are needed."""
    rule = node.rule
    if rule is None:
        raise NotCut(f"{node.name} has no rule")
    spoiled = [v for v in node.inputs if v.needs_grad and isinstance(plan.axes.get(v), SampleAxis)]
    if not all(v in plan.clean for v in spoiled):
        raise NotCut(f"samples mix behind {node.name}")
    at = next(i for i, each in enumerate(asked) if each)
    out, value = own[at], node.outputs[at]
    assert isinstance(out, SampleAxis) and value is not None
    aligned = _aligned(node, rule, out, value)
    found: list[SampleAxis | None] = []
    for v in node.inputs:
        axis = aligned(v) if aligned is not None else _own_axis(plan.axes.get(v))
        if axis is None and v.needs_grad and plan.axes.get(v) is not Marker.SHARED and aligned is None:
            raise NotCut(f"{node.name} reads a sum over the samples or something in which they are lost")
        found.append(axis)
    return tuple(found)


def _aligned(node: Node, rule: Rule, out: SampleAxis, result: Value) -> Callable[[Value], SampleAxis | None] | None:
    """Where the inputs' axes are those of the output, whatever they were taken for: by position, not by origin."""
    rank, size = len(result.shape), result.shape[out.dim]

    def by_broadcast(v: Value) -> SampleAxis | None:
        dim = out.dim - (rank - len(v.shape))
        return replace(out, dim=dim) if dim >= 0 and v.shape[dim] == size else None

    if rule.axis is elementwise_axis or (node.op in _BATCHED and out.dim == 0):
        return by_broadcast
    if node.op is aten.cat.default:
        joined = (node.args[1] if len(node.args) > 1 else 0) % rank
        return by_broadcast if joined != out.dim else None
    if node.op is ALIAS_UPDATE:
        old, _, target, source = node.args
        written = out if target == source else seen_from(out, source, target)
        if out.outer != 1 or not isinstance(written, SampleAxis):
            raise NotCut("a write through a view covers the samples in another order than the tensor that it changes")
        return lambda v: out if v is old else written
    if node.op in _BATCH_NORMS:
        scale = SampleAxis(0, out.outer, out.inner) if out.dim == 1 else None
        return lambda v: scale if len(v.shape) == 1 else out
    return None


# -- the cut plan -----------------------------------------------------------------------------------------------------


@final
class _TwinSlot:
    """The narrowed cotangent of a value, in the place of its slot."""

    __slots__ = ("cotangent", "kept", "scalar")

    def __init__(self, kept: bool, cotangent: Tensor | None) -> None:
        self.kept = kept
        self.cotangent = cotangent
        self.scalar = False


def cut_plan(tape: Tape, cut: Cut, count: int) -> Plan:
    """The plan of the first `count` samples."""
    assert cut.batch is not None and not cut.reason
    return _Builder(cut.batch, count).run(tape.nodes, cut)


def cut_shape(shape: Sequence[int], axis: SampleAxis, count: int) -> tuple[int, ...]:
    """A shape with `count` samples along the axis."""
    return (*shape[: axis.dim], axis.outer * count * axis.inner, *shape[axis.dim + 1 :])


class _Builder:
    """Makes the twins of one tape."""

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
        jets: Any = rule.propagate(s)
        return [(grown(a), grown(b)) for a, b in ((jets,) if isinstance(jets, tuple) else jets)]

    return replace(rule, propagate=propagate)


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


# -- the check --------------------------------------------------------------------------------------------------------


def _verify(tape: Tape, plan: Plan, cut: Cut) -> None:
    """Run every cut operation's rule without data, on a number of samples that no size can be mistaken for."""
    assert plan.batch is not None
    builder = _Dry(plan.batch, _prime(plan))
    for step in cut.steps:
        if step.whole:
            continue
        node = tape.nodes[step.node]
        twin = builder.twin_node(node, step)
        tangents = {v: _dry(v) for v in twin.inputs if v.needs_grad}
        held = {v: _dry(v) for v in (*twin.inputs, *twin.outputs) if v is not None}
        site = Site(twin, tangents, dict(tangents), held, watched=True)
        try:
            assert twin.rule is not None
            jets: Any = twin.rule.propagate(site)
            each = [t for jet in ((jets,) if isinstance(jets, tuple) else jets) for t in _parts(*jet)]
            shapes = [value for value in twin.outputs for _ in range(2)]
            for value, found in zip(shapes, each, strict=False):
                if found is not None and value is not None and value.needs_grad:
                    like = twin.args[found.like].shape if isinstance(found, Spread) else value.shape
                    (found.terms if isinstance(found, Spread) else found).expand(like)
        except Exception as why:  # whatever a rule raises when a size in its arguments is not that of its input
            raise NotCut(f"{node.name} cannot be run on a part of the batch ({type(why).__name__})") from why


def _parts(first: Any, second: Any) -> Iterator[Any]:
    yield first
    yield second


class _Dry(_Builder):
    """Twins without data: only their shapes are asked for."""

    def narrow(self, tensor: Tensor, axis: SampleAxis) -> Tensor:
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
