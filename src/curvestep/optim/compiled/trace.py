"""One graph of a whole step: the function of the batch, its gradient, the direction and the pass along it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from curvestep._numerics import as_dtype, dot, working_dtype
from curvestep._probe import Need
from curvestep.directions import STEP
from curvestep.engine import Tape, record
from curvestep.optim._gather import Sums
from curvestep.optim._measure import CURVATURES, curvatures
from curvestep.optim._options import Measure
from curvestep.optim._proof import RECORDED_SLOPE
from curvestep.optim._recordings import Recordings
from curvestep.optim.compiled.guards import Batch, Function, Guards, Seen, watching
from curvestep.optim.compiled.lifting import Lifting, inputs_first
from curvestep.optim.compiled.plan import PART, GroupPlan, Numbers
from curvestep.optim.compiled.refusal import NotCompiled

#: What a graph measures or leaves out.
MEASURED = CURVATURES | {Need.PARAMETER_NORM}


@final
@dataclass(frozen=True)
class Traced:
    """A graph and how to call it.

    Its inputs are the batch, the states of the parts parameter by parameter, the numbers of the step where there are
    any, and the captured tensors. Its outputs are the measured scalars, the loss, and for each part the direction
    (where it moves) and the following states.
    """

    graph: GraphModule  # the operations
    # tensors that the function closes over, parameters and buffers above all: read anew at every call
    captured: list[Tensor]
    parts: list[TracedPart]  # for each group that has a gradient which one it is, and its parameters with a gradient
    guards: Guards  # what else it was traced for
    names: tuple[str, ...]  # what the scalars are, under the names of ``Probe``


@final
@dataclass(frozen=True)
class TracedPart:
    """What one group brings to the graph."""

    plan: GroupPlan  # the group
    members: list[int]  # which of the group's parameters have a gradient

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters with a gradient."""
        return [self.plan.parameters[i] for i in self.members]

    @property
    def has_state(self) -> bool:
        """Whether the direction keeps a state."""
        return self.plan.corrections > 0 or any(self.plan.states)


def trace(
    function: Function, batch: Batch, plans: Sequence[GroupPlan], numbers: Numbers, needs: frozenset[Need],
    how: Measure,
) -> Traced:  # fmt: skip
    """Trace a step.

    Args:
        function: gives the loss of a batch.
        batch: one call's arguments.
        plans: of the groups.
        numbers: places of the numbers that change from step to step.
        needs: what the step measures.
        how: how it measures the curvature.

    Returns:
        The graph, with nothing computed: shapes were enough.

    Raises:
        NotCompiled: something that the function does cannot be part of a graph.
    """
    states = [tensor for plan in plans for state in plan.states for tensor in state.values()]
    given = [*batch.tensors, *states, *([] if numbers.tensor is None else [numbers.tensor])]
    parts: list[TracedPart] = []
    names: list[str] = []
    seen = Seen()
    measures = bool(needs & CURVATURES)
    lifting = Lifting()

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        parts.clear()
        rest = iter(tensors[len(batch.tensors) :])
        held = [[{name: next(rest) for name in state} for state in plan.states] for plan in plans]
        scalars = numbers.read(next(rest, None))
        leaves = [p for plan in plans for p in plan.parameters if p.requires_grad]
        args, kwargs = batch.filled(list(tensors[: len(batch.tensors)]))
        with lifting, torch.enable_grad(), record() if measures else nullcontext() as tape:
            loss = function(*args, **kwargs)
            lifting.forward_done()
            _require_loss(loss)
            found = torch.autograd.grad(loss, leaves, allow_unused=True)
        by_leaf = {id(leaf): gradient for leaf, gradient in zip(leaves, found, strict=True)}
        with lifting:
            return _outputs(loss.detach().reshape(()), by_leaf, plans, held, scalars, tape, parts, names, needs, how)

    try:
        with _nested_compilers_off(), _quiet_caches(), watching(seen), torch.no_grad():
            graph = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(*given)
    finally:
        assigned = seen.give_back()
    if assigned is not None:
        raise NotCompiled(f"the function assigns a tensor to {assigned}, which a graph would do only once")
    inputs_first(graph)
    used = [part for part in parts if part.members]
    return Traced(graph, lifting.captured, used, Guards(seen, lifting.captured), tuple(names))


def _outputs(
    loss: Tensor, by_leaf: Mapping[int, Tensor | None], plans: Sequence[GroupPlan], held: list[list[dict[str, Tensor]]],
    scalars: dict[tuple[Any, ...], Tensor], tape: Tape | None, parts: list[TracedPart],
    names: list[str], needs: frozenset[Need], how: Measure,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return what the graph returns, and enter the parts and the names of the scalars."""
    gradients: list[Tensor] = []  # of what moves
    directions: list[Tensor] = []
    moving: list[Tensor] = []
    gradient_norm_sq: list[Tensor] = []
    penalties: list[Tensor] = []  # λ/2 ‖θ‖²
    bends: list[Tensor] = []  # λ ‖d‖²
    outputs: list[Tensor] = []
    for plan, states in zip(plans, held, strict=True):
        members = [i for i, p in enumerate(plan.parameters) if by_leaf.get(id(p)) is not None]
        if not members:
            parts.append(TracedPart(plan, []))
            continue
        chosen = [plan.parameters[i] for i in members]
        own = [_dense(by_leaf[id(p)], p) for p in chosen]
        detached = [p.detach() for p in chosen]
        if plan.decays:
            factor = scalars["decay", plan.index]
            widened = [as_dtype(p, g.dtype) for p, g in zip(detached, own, strict=True)]
            own = [g + p * as_dtype(factor, g.dtype) for p, g in zip(widened, own, strict=True)]
            penalties.append(0.5 * factor * dot(detached, detached))
        gradient_norm_sq.append(dot(own, own))
        corrections = [
            [as_dtype(scalars["correction", plan.index, plan.counts[i], j], g.dtype) for j in range(plan.corrections)]
            for i, g in zip(members, own, strict=True)
        ]
        proposal = plan.direction.propose(own, [{**states[i], STEP: 0} for i in members], corrections)
        if plan.moves:
            direction = proposal.direction
            if plan.scaled:
                share = scalars["share", plan.index]
                direction = [d * as_dtype(share, d.dtype) for d in direction]
            direction = [_laid_out(as_dtype(d, p.dtype), p) for d, p in zip(direction, chosen, strict=True)]
            gradients += own
            directions += direction
            moving += chosen
            if plan.decays:
                bends.append(scalars["decay", plan.index] * dot(direction, direction))
            outputs += direction
        for i, following in zip(members, proposal.following, strict=True):
            outputs += [_laid_out(following[name], state) for name, state in states[i].items()]
        parts.append(TracedPart(plan, members))
    if not moving:
        raise NotCompiled("no parameter that moves has a gradient")
    device = loss.device
    measured: Sums = {
        "loss": [loss, *penalties],
        "gradient_norm_sq": gradient_norm_sq,
        "slope": [dot(gradients, directions)],
        "direction_norm_sq": [dot(directions, directions)],
    }
    if Need.PARAMETER_NORM in needs:
        flat = [p.detach() for p in moving]
        measured["parameter_norm_sq"] = [dot(flat, flat)]
    if tape is not None:
        recordings = Recordings([tape], None)
        measured.update(curvatures(replace(how, part=scalars.get(PART, 0)), recordings, moving, directions, bends))
        measured.pop(RECORDED_SLOPE, None)  # gradient and recording are of one graph
        recordings.release()
    names[:] = measured
    wide = torch.float32 if device.type == "mps" else torch.float64  # keeps every bit of what it is given
    scalars_out = [_total([term.to(device, wide) for term in terms]) for terms in measured.values()]
    return torch.stack(scalars_out), loss, *outputs


def _total(terms: list[Tensor]) -> Tensor:
    """Return the sum of numbers of shape ()."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor with the strides of another one: the next call finds it where this one found that."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_strided(like.shape, like.stride(), dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _require_loss(loss: Any) -> None:
    """Refuse what is not one number that can be differentiated."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise NotCompiled("the function does not return the loss as one number that depends on a parameter")


def _dense(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """Return a gradient in the dtype of sums."""
    assert gradient is not None
    if gradient.layout is not torch.strided:
        raise NotCompiled(f"a parameter of shape {tuple(parameter.shape)} has a gradient of layout {gradient.layout}")
    return as_dtype(gradient.detach(), working_dtype(parameter.dtype))


@contextmanager
def _nested_compilers_off() -> Iterator[None]:
    """Run a model that is already compiled operation by operation, so that this tracer records them."""
    import torch._dynamo as dynamo

    unseen = dynamo.config.patch(error_on_nested_fx_trace=False)
    with torch.compiler.set_stance("force_eager"), unseen, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile")  # that hooks on all modules come too late for it
        yield


@contextmanager
def _quiet_caches() -> Iterator[None]:
    """Keep the casts that autocast remembers of weights out of the graph, and those of the graph out of later steps."""
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.clear_autocast_cache()
