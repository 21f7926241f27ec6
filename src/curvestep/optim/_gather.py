"""What a step begins with: the groups' parameters, gradients and states, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from curvestep import _numerics
from curvestep._errors import CurvestepError
from curvestep._numerics import as_dtype, real, squares, total, working_dtype
from curvestep._shards import PLAIN, aligned, any_sharded, counted, local, locals_of
from curvestep.directions import Direction, Gradient, State
from curvestep.optim._average import AVERAGE, WINDOW_START
from curvestep.optim._proof import CHANGES, FORMER_NORM_SQ, LEFT_NORM_SQ
from curvestep.optim._recordings import Recordings

#: Name in ``optimizer.state[p]`` of the step that led to where the parameter is, decoupled decay left out.
LAST_STEP = "last_step"

#: Numbers of a step under the names of ``Probe``, each as terms of shape () that are to be summed.
Sums = dict[str, Sequence[Tensor]]


@dataclass(frozen=True)
class Part:
    """What one parameter group brings to one step: parameters with a gradient, and what belongs to each of them."""

    group: dict[str, Any]
    direction: Direction
    parameters: list[Tensor]
    gradients: list[Tensor]  # λ θ included; float32 or wider; of a complex parameter real and imaginary parts
    states: list[State]
    begins: bool = False  # whether one of the states is not in optimizer.state yet

    @property
    def lr(self) -> float:
        """The group's ℓ."""
        return float(self.group["lr"])

    @property
    def decay(self) -> float:
        """The group's λ."""
        return float(self.group.get("weight_decay", 0.0))


@dataclass(frozen=True)
class Gathered:
    """What all groups bring to one step."""

    parts: list[Part]  # the groups that have a gradient
    moving: list[Part]  # those whose ℓ is above 0
    ell: float  # the largest ℓ; 0 where nothing moves
    gradients: list[Tensor]
    decays: bool  # whether a part has an L2 term
    is_sharded: bool  # whether a process holds only a part of some parameter: norms are then sums over the processes

    @classmethod
    def of(cls, parts: list[Part]) -> Gathered:
        """Put the parts together."""
        moving = [part for part in parts if part.lr > 0.0]
        return cls(
            parts,
            moving,
            max([part.lr for part in moving], default=0.0),
            [gradient for part in parts for gradient in part.gradients],
            any([part.decay > 0.0 for part in parts]),
            any([any_sharded(part.parameters) for part in parts]),
        )

    def sums(self, recordings: Recordings, loss: Tensor | None, *, parameter_norm: bool = False) -> Sums:
        """Return ‖g‖², and where they are wanted J with its L2 term and ‖θ‖² of what moves."""
        left, sharded = recordings.left, self.is_sharded
        sums: Sums = {}
        every = [parameter for part in self.parts for parameter in part.parameters]
        if left is None or sharded or recordings.is_changed or recordings.is_scaled or self.decays:
            sums["gradient_norm_sq"] = counted(squares(self.gradients), every)
        else:
            sums["gradient_norm_sq"] = left.squares
        if left is not None and left.former:
            sums[FORMER_NORM_SQ] = left.former
        if left is not None and (recordings.is_changed or sharded):
            squared = left.squares
            if recordings.is_unscaled:
                squared = [recordings.unscaled(recordings.unscaled(square)) for square in squared]
            sums[LEFT_NORM_SQ] = squared
        if left is not None and sharded:
            sums[CHANGES] = (
                [torch.ones_like(sums["gradient_norm_sq"][0])] if recordings.is_changed else left.changes(every)
            )
        if loss is not None:
            sums["loss"] = [loss + penalty(self.parts, loss) if self.decays else loss]
        if parameter_norm:
            sums["parameter_norm_sq"] = squares_of([p for part in self.moving for p in part.parameters])
        return sums

    @property
    def largest(self) -> float:
        """The largest number that every moving parameter's dtype holds."""
        return min([_largest(p.dtype) for part in self.moving for p in part.parameters], default=0.0)


@cache
def _largest(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).max


def gather(
    owner: str,
    groups: Sequence[dict[str, Any]],
    states: Mapping[Tensor, State],
    direction_of: Callable[[dict[str, Any]], Direction],
    recordings: Recordings,
) -> Gathered:
    """Collect the parameters that require a gradient and have one; refuse what cannot be stepped."""
    parts = []
    for group in groups:
        direction = direction_of(group)
        parameters = [p for p in group["params"] if p.requires_grad and p.grad is not None]
        if not parameters:
            continue
        gradients = [_wide_gradient(owner, parameter) for parameter in parameters]
        if recordings.is_scaled:
            gradients = [recordings.unscaled(gradient) for gradient in gradients]
        decay = group.get("weight_decay", 0.0)
        if decay > 0.0:  # new tensors: p.grad is never written
            widened = [real(p.detach()).to(g.dtype) for p, g in zip(locals_of(parameters), gradients, strict=True)]
            gradients = _numerics.add(gradients, widened, alpha=decay)
        # A state that does not exist yet is entered only once the step is known to go ahead.
        known = [states.get(p) for p in parameters]
        held = [_state_of(state, direction, p) for state, p in zip(known, parameters, strict=True)]
        begins = any(own is not state for own, state in zip(held, known, strict=True))
        parts.append(Part(group, direction, parameters, gradients, held, begins))
    return Gathered.of(parts)


def _state_of(held: State | None, direction: Direction, parameter: Tensor) -> State:
    """Return a parameter's state; where it has none but perhaps an average, the direction's first one with it."""
    if held and not held.keys() <= {AVERAGE, WINDOW_START}:
        return held
    if type(direction) is Gradient:
        return held or {}  # it keeps nothing, and is asked for nothing
    return {**direction.init(real(local(parameter).detach())), **(held or {})}


def dense_gradient(owner: str, parameter: Tensor) -> Tensor:
    """Return what this process holds of a parameter's gradient; refuse one that is not dense."""
    gradient = parameter.grad
    assert gradient is not None
    if gradient.layout is not torch.strided:
        msg = (
            f"{owner} needs dense gradients, but a parameter of shape {tuple(parameter.shape)} has a gradient of "
            f"layout {gradient.layout}: build the embedding with sparse=False."
        )
        raise CurvestepError(msg)
    return gradient if type(gradient) in PLAIN and type(parameter) in PLAIN else local(aligned(gradient, parameter))


def _wide_gradient(owner: str, parameter: Tensor) -> Tensor:
    """Return a parameter's gradient in the dtype of sums."""
    gradient = dense_gradient(owner, parameter)
    if gradient.requires_grad:  # left by create_graph=True
        gradient = gradient.detach()
    dtype = gradient.dtype
    if dtype is torch.float32 or dtype is torch.float64:
        return gradient
    gradient = real(gradient)
    return as_dtype(gradient, working_dtype(gradient.dtype))


def penalty(parts: Sequence[Part], loss: Tensor) -> Tensor:
    """Return Σ λ/2 ‖θ‖² over the parts on the loss's device; zero where no part has a λ.

    Of sharded parameters it is a process's own part, as `counted` has it: add it to what is averaged.
    """
    terms = [total(squares_of(part.parameters)) * (0.5 * part.decay) for part in parts if part.decay > 0.0]
    return sum((term.to(loss.device) for term in terms), torch.zeros_like(loss))


def squares_of(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return ‖tensor_i‖² for each i; of a sharded one what its mean over the processes is."""
    return counted(squares(locals_of(tensors)), tensors)


def scaled(part: Part, direction: list[Tensor], ell: float) -> list[Tensor]:
    """Return the part's direction times its share of ℓ, in the dtype of the parameters."""
    if part.lr != ell:
        direction = _numerics.scale(direction, part.lr / ell)
    return [as_dtype(tensor, parameter.dtype) for tensor, parameter in zip(direction, part.parameters, strict=True)]


def last_steps(parts: Sequence[Part]) -> list[list[Tensor]]:
    """Return the last u of every parameter; zeros for one that has not moved yet."""
    return [
        [
            state[LAST_STEP].to(parameter.dtype) if LAST_STEP in state else torch.zeros_like(parameter.detach())
            for state, parameter in zip(part.states, locals_of(part.parameters), strict=True)
        ]
        for part in parts
    ]
