"""The loss along a line, and gradients: the recorded forward run again, by autograd where a gradient is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from curvestep._errors import RecordingError
from curvestep._shards import whole
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.jets import outgoing
from curvestep.engine.passes.replay import replay
from curvestep.engine.rules.site import Site, require_unchanged


def loss_along(
    recording: Recording, plan: Plan, params: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]
) -> Tensor:
    """J(θ + t d) for each t; see `Tape.loss_along`."""
    root = recording.root
    losses: list[Tensor] = []
    with torch.no_grad(), _disable_current_modes():
        for t in steps:
            moved: dict[Value, Tensor] = {}
            for p, d in zip(params, direction, strict=True):
                value = _recorded(recording, p)
                if value is not None:
                    moved[value] = p.detach() + t * d
            losses.append(replay(plan, root, moved, keep=False)[root].reshape(()))
    return torch.stack(losses) if losses else torch.zeros(0)


def gradient_along(
    recording: Recording, plan: Plan, params: Sequence[Tensor], direction: Sequence[Tensor], t: float
) -> list[Tensor]:
    """∇J(θ + t d); see `Tape.gradient_along`."""
    root = recording.root
    with torch.enable_grad(), _disable_current_modes():
        watched: list[Tensor] = []
        leaves: dict[Value, Tensor] = {}
        for p, d in zip(params, direction, strict=True):
            moved = torch.add(whole(p.detach()), whole(d.detach()), alpha=t).requires_grad_()
            watched.append(moved)
            value = _recorded(recording, p)
            if value is not None:
                leaves[value] = moved
        loss = replay(plan, root, leaves, watched=True)[root]
        if not loss.requires_grad:
            return [torch.zeros_like(p) for p in watched]
        found = torch.autograd.grad(loss, watched, grad_outputs=root.cotangent, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g.detach() for p, g in zip(watched, found, strict=True)]


def hessian_vector_product(
    recording: Recording, plan: Plan, params: Sequence[Tensor], direction: Sequence[Tensor]
) -> list[Tensor]:
    """∇²J d by the backward of the tangent pass; see `Tape.hvp`."""
    root = recording.root
    with torch.enable_grad(), _disable_current_modes():
        watched: list[Tensor] = []
        leaves: dict[Value, Tensor] = {}
        seeds: dict[Value, Tensor] = {}
        for p, d in zip(params, direction, strict=True):
            own = whole(p.detach()).clone().requires_grad_()
            watched.append(own)
            value = _recorded(recording, p)
            if value is not None:
                leaves[value] = own
                seeds[value] = whole(d.detach())
        present = replay(plan, root, leaves, watched=True)
        slope = _first_tangents(plan, seeds, present).get(root)
        if slope is None or not slope.requires_grad:
            return [torch.zeros_like(p) for p in watched]
        cotangent = root.cotangent
        found = torch.autograd.grad(slope, watched, grad_outputs=cotangent, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g.detach() for p, g in zip(watched, found, strict=True)]


def _recorded(recording: Recording, parameter: Tensor) -> Value | None:
    """The leaf of a parameter, refused if it was changed since; None where the forward did not read it."""
    entry = recording.leaves.get(id(parameter))
    if entry is None:
        return None
    if id(parameter) in recording.parted:
        raise RecordingError(
            f"The parameter of shape {tuple(parameter.shape)} as it was in the forward was needed, but an optimizer "
            "that shares the recording has moved it since. Ask before its step."
        )
    require_unchanged(entry[1], parameter)
    return entry[1]


def _first_tangents(plan: Plan, seeds: dict[Value, Tensor], present: dict[Value, Tensor]) -> dict[Value, Tensor]:
    """First tangents of everything between the seeds and the root, at replayed values; autograd watches."""
    first: dict[Value, Tensor] = dict(seeds)
    for node in plan.steps:
        for value, dy, _ in outgoing(node, Site(node, first, {}, present, first_only=True, watched=True), first, {}):
            if dy is not None:
                first[value] = dy
    return first
