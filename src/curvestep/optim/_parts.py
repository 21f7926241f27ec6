"""What each parameter group brings to a step: its parameters with their gradients, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from curvestep import _numerics
from curvestep._errors import CurvestepError
from curvestep._numerics import as_dtype, squared_norm, working_dtype
from curvestep.directions import Direction, State
from curvestep.optim._average import AVERAGE

#: Name in ``optimizer.state[p]`` of the step that led to where the parameter is, decoupled decay left out.
LAST_STEP = "last_step"


@dataclass(frozen=True)
class Part:
    """What one parameter group brings to one step: parameters with a gradient, and what belongs to each of them."""

    group: dict[str, Any]
    direction: Direction
    parameters: list[Tensor]
    gradients: list[Tensor]  # λ θ included; float32 or wider
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


def collect(
    owner: str,
    groups: Sequence[dict[str, Any]],
    states: Mapping[Tensor, State],
    direction_of: Callable[[dict[str, Any]], Direction],
    scale: Tensor | None,
) -> list[Part]:
    """Collect the parameters that require a gradient and have one; refuse what cannot be stepped."""
    parts = []
    for group in groups:
        direction = direction_of(group)
        parameters = [p for p in group["params"] if p.requires_grad and p.grad is not None]
        if not parameters:
            continue
        gradients = [_dense_gradient(owner, parameter) for parameter in parameters]
        if scale is not None:
            gradients = [gradient / scale.to(gradient.device) for gradient in gradients]
        decay = group.get("weight_decay", 0.0)
        if decay > 0.0:  # new tensors: p.grad is never written
            widened = [p.detach().to(g.dtype) for p, g in zip(parameters, gradients, strict=True)]
            gradients = _numerics.add(gradients, widened, alpha=decay)
        # A state that does not exist yet is entered only once the step is known to go ahead.
        known = [states.get(p) for p in parameters]
        held = [_state_of(state, direction, p) for state, p in zip(known, parameters, strict=True)]
        begins = any(own is not state for own, state in zip(held, known, strict=True))
        parts.append(Part(group, direction, parameters, gradients, held, begins))
    return parts


def _state_of(held: State | None, direction: Direction, parameter: Tensor) -> State:
    """Return a parameter's state; where it has none but perhaps an average, the direction's first one with it."""
    if held and (len(held) > 1 or AVERAGE not in held):
        return held
    return {**direction.init(parameter.detach()), **(held or {})}


def _dense_gradient(owner: str, parameter: Tensor) -> Tensor:
    """Return a parameter's gradient in the dtype of sums."""
    gradient = parameter.grad
    assert gradient is not None
    if gradient.layout is not torch.strided:
        msg = (
            f"{owner} needs dense gradients, but a parameter of shape {tuple(parameter.shape)} has a gradient of "
            f"layout {gradient.layout}: build the embedding with sparse=False."
        )
        raise CurvestepError(msg)
    if gradient.requires_grad:  # left by create_graph=True
        gradient = gradient.detach()
    return as_dtype(gradient, working_dtype(parameter.dtype))


def penalty(parts: Sequence[Part], loss: Tensor) -> Tensor:
    """Return Σ λ/2 ‖θ‖² over the parts on the loss's device; zero where no part has a λ."""
    terms = [squared_norm(part.parameters) * (0.5 * part.decay) for part in parts if part.decay > 0.0]
    return sum((term.to(loss.device) for term in terms), torch.zeros_like(loss))


def scaled(part: Part, direction: list[Tensor], ell: float) -> list[Tensor]:
    """Return the part's direction times its share of ℓ, in the dtype of the parameters."""
    if part.lr != ell:
        direction = _numerics.scale(direction, part.lr / ell)
    return [as_dtype(tensor, parameter.dtype) for tensor, parameter in zip(direction, part.parameters, strict=True)]


def keep_last_steps(parts: Sequence[Part], directions: Sequence[list[Tensor]], step_size: float) -> None:
    """Keep u = τ d in the state of every parameter that is about to move."""
    for part, direction in zip(parts, directions, strict=True):
        for state, displacement in zip(part.states, _numerics.scale(direction, step_size), strict=True):
            state[LAST_STEP] = displacement.to(working_dtype(displacement.dtype))


def last_steps(parts: Sequence[Part]) -> list[list[Tensor]]:
    """Return the last u of every parameter; zeros for one that has not moved yet."""
    return [
        [
            state[LAST_STEP].to(parameter.dtype) if LAST_STEP in state else torch.zeros_like(parameter.detach())
            for state, parameter in zip(part.states, part.parameters, strict=True)
        ]
        for part in parts
    ]


def update(part: Part, direction: Sequence[Tensor], step_size: float, rescaling: float) -> None:
    """Write θ ← (1 − τ_i λ_dec) θ − τ d."""
    decay = part.group.get("decoupled_weight_decay", 0.0)
    if decay > 0.0:
        # A step so long that the factor would be negative takes the parameters to zero, not to the other side.
        _numerics.scale_(part.parameters, max(0.0, 1.0 - part.lr * rescaling * decay))
    _numerics.add_(part.parameters, direction, alpha=-step_size)


def check_number(options: dict[str, Any], name: str, meaning: str) -> None:
    """Refuse an option that is not a finite number of at least 0."""
    value = options[name]
    valid = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0.0
    if not valid:
        msg = f"{name} is {meaning} and must be a finite number of at least 0, but {name}={value!r} was given."
        raise ValueError(msg)
