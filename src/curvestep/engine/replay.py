"""Running the recorded forward again at other parameters, with the recorded masks and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from curvestep._errors import MissingRuleError
from curvestep.engine.geometry import put
from curvestep.engine.rules.alias import ALIAS_UPDATE
from curvestep.engine.rules.table import Site, functional_twin

if TYPE_CHECKING:
    from curvestep.engine.tape import Node, Tape, Value

aten = torch.ops.aten
_VIEWS = {aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default}


def replay(tape: Tape, leaves: dict[Value, Tensor], *, watched: bool = False, keep: bool = True) -> dict[Value, Tensor]:
    """Run the operations between the live leaves and the root again.

    Args:
        tape: the recording.
        leaves: present values of leaves; the others keep theirs.
        watched: whether autograd watches, so that operations whose saved statistics it takes for constants are run
            by their formula.
        keep: whether everything that was computed is wanted; otherwise what no later operation reads is dropped.

    Returns:
        The present value of everything that was computed, or of the root, and of the given leaves.
    """
    present = dict(leaves)
    last_use, root = tape.plan.last_use, tape.root
    for index, node in enumerate(tape.plan.steps):
        site = Site(node, {}, {}, present)
        outs = rerun(node, site, watched)
        for value, out in zip(node.outputs, outs, strict=False):
            if value is not None and (keep or value in last_use or value is root):
                present[value] = out
        if not keep:
            for value in node.inputs:
                if last_use.get(value) == index:
                    present.pop(value, None)
    return present


def rerun(node: Node, site: Site, watched: bool) -> Sequence[Any]:
    """One operation at the present values, never writing to anything recorded."""

    def fetch(arg: Any) -> Any:
        if hasattr(arg, "needs_grad"):
            return site.data(arg)
        if isinstance(arg, list):
            return [fetch(a) for a in arg]
        return arg

    args = tuple(fetch(a) for a in node.args)
    options = {k: fetch(v) for k, v in node.kwargs.items()}
    if node.op is ALIAS_UPDATE:
        old, written, target, source = args
        return (put(old, written, target, source),)
    if node.rule is not None and node.rule.rerun is not None:
        out = node.rule.rerun(site, args, watched)
    else:
        out = _call(node, args, options)
    return out if isinstance(out, (tuple, list)) else (out,)


def _call(node: Node, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call the operation, its functional twin if it writes in place."""
    if not node.mutates:
        if node.op in _VIEWS:  # a replayed tensor may be laid out in another order than the recorded one
            return args[0].reshape(args[1])
        if node.rule is None and torch.Tag.nondeterministic_seeded in node.op.tags:
            raise MissingRuleError(f"{node.name} draws random numbers and has no rule, so it cannot be replayed.")
        return node.op(*args, **options)
    twin = functional_twin(node.op)
    if twin is not None:
        return twin(*args, **options)
    return node.op(args[0].clone(), *args[1:], **options)


def loss_along(tape: Tape, params: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]) -> Tensor:
    """J(θ + t d) for each t; see `Tape.loss_along`."""
    root = tape.root
    losses: list[Tensor] = []
    with torch.no_grad(), _disable_current_modes():
        for t in steps:
            moved: dict[Value, Tensor] = {}
            for p, d in zip(params, direction, strict=True):
                entry = tape.leaves.get(id(p))
                if entry is not None:
                    moved[entry[1]] = p.detach() + t * d
            losses.append(replay(tape, moved, keep=False)[root].reshape(()))
    return torch.stack(losses) if losses else torch.zeros(0)


def gradient_along(tape: Tape, params: Sequence[Tensor], direction: Sequence[Tensor], t: float) -> list[Tensor]:
    """∇J(θ + t d); see `Tape.gradient_along`."""
    root = tape.root
    with torch.enable_grad(), _disable_current_modes():
        watched: list[Tensor] = []
        leaves: dict[Value, Tensor] = {}
        for p, d in zip(params, direction, strict=True):
            moved = torch.add(p.detach(), d.detach(), alpha=t).requires_grad_()
            watched.append(moved)
            entry = tape.leaves.get(id(p))
            if entry is not None:
                leaves[entry[1]] = moved
        loss = replay(tape, leaves, watched=True)[root]
        if not loss.requires_grad:
            return [torch.zeros_like(p) for p in params]
        found = torch.autograd.grad(loss, watched, grad_outputs=root.cotangent, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g.detach() for p, g in zip(params, found, strict=True)]


def hessian_vector_product(tape: Tape, params: Sequence[Tensor], direction: Sequence[Tensor]) -> list[Tensor]:
    """∇²J d by the backward of the tangent pass; see `Tape.hvp`."""
    from curvestep.engine.sweep import first_tangents

    root = tape.root
    with torch.enable_grad(), _disable_current_modes():
        watched: list[Tensor] = []
        leaves: dict[Value, Tensor] = {}
        seeds: dict[Value, Tensor] = {}
        for p, d in zip(params, direction, strict=True):
            own = p.detach().clone().requires_grad_()
            watched.append(own)
            entry = tape.leaves.get(id(p))
            if entry is not None:
                leaves[entry[1]] = own
                seeds[entry[1]] = d.detach()
        present = replay(tape, leaves, watched=True)
        slope = first_tangents(tape, seeds, present).get(root)
        if slope is None or not slope.requires_grad:
            return [torch.zeros_like(p) for p in params]
        cotangent = root.cotangent
        found = torch.autograd.grad(slope, watched, grad_outputs=cotangent, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g.detach() for p, g in zip(params, found, strict=True)]
