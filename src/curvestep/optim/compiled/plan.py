"""What the parameter groups bring to a graph, and the numbers of a step that must not be constants of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from curvestep.directions import STEP, Direction, State
from curvestep.optim._options import Measure
from curvestep.optim.compiled.compilable import Compilable

#: Name among the numbers of which part of the batch is measured.
PART = ("part",)


@final
@dataclass(frozen=True)
class GroupPlan:
    """What one parameter group brings to a step."""

    index: int  # which group
    direction: Direction  # its direction
    parameters: list[Tensor]  # its parameters that require a gradient
    states: list[dict[str, Tensor]]  # their direction's states, tensors alone
    steps: tuple[int, ...]  # the distinct numbers of gradients that its parameters have absorbed
    counts: tuple[int, ...]  # for each parameter the index of its number among them
    corrections: int  # how many bias corrections the direction has
    moves: bool  # whether its ℓ is above 0
    scaled: bool  # whether its ℓ is not the largest one
    decays: bool  # whether its λ is above 0

    @property
    def key(self) -> tuple[Any, ...]:
        """What of it a graph is traced for."""
        ids = tuple([id(p) for p in self.parameters])
        layouts = tuple([(t.stride(), t.dtype) for state in self.states for t in state.values()])
        return self.direction, ids, self.counts, layouts, self.moves, self.scaled, self.decays


def plan_groups(optimizer: Compilable, ell: float) -> list[GroupPlan]:
    """Return what the groups bring; parameters without a state are given their direction's first one."""
    plans = []
    for index, group in enumerate(optimizer.param_groups):
        direction = optimizer._direction(group)
        parameters = [p for p in group["params"] if p.requires_grad]
        names = _names(direction)
        states, steps, counts = [], {}, []
        for parameter in parameters:
            held: State = optimizer.state.get(parameter, {})
            if any(name not in held for name in names):
                held = direction.init(parameter.detach())
            states.append({name: held[name] for name in names if name != STEP})
            counts.append(steps.setdefault(held.get(STEP, 0), len(steps)))
        lr = float(group["lr"])
        corrections = len(direction.corrections(1))
        decays = group.get("weight_decay", 0.0) > 0.0
        plans.append(
            GroupPlan(
                index,
                direction,
                parameters,
                states,
                tuple(steps),
                tuple(counts),
                corrections,
                lr > 0.0,
                0.0 < lr != ell,
                decays,
            )  # fmt: skip
        )
    return plans


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(direction: Direction) -> tuple[str, ...]:
    """Return the names of a direction's state."""
    known = _NAMES.get(type(direction))
    if known is None:
        known = _NAMES[type(direction)] = tuple(direction.init(torch.zeros(())))
    return known


@final
class Numbers:
    """The numbers of one step that a graph reads from a tensor: shares of ℓ, λ, bias corrections, the measured part."""

    def __init__(self, plans: Sequence[GroupPlan], groups: Sequence[dict[str, Any]], ell: float, how: Measure) -> None:
        found: dict[tuple[Any, ...], float] = {}
        if how.samples is not None:
            found[PART] = float(how.part)
        for plan in plans:
            group = groups[plan.index]
            if plan.scaled:
                found["share", plan.index] = float(group["lr"]) / ell
            if plan.decays:
                found["decay", plan.index] = float(group["weight_decay"])
            for which, step in enumerate(plan.steps if plan.corrections else ()):
                for j, value in enumerate(plan.direction.corrections(step + 1)):
                    found["correction", plan.index, which, j] = value
        self.names = tuple(found)
        device = next((p.device for plan in plans for p in plan.parameters), torch.device("cpu"))
        wide = torch.float32 if device.type == "mps" else torch.float64
        values = list(found.values())
        self.tensor = torch.tensor(values, dtype=wide).to(device, non_blocking=True) if values else None

    def read(self, tensor: Tensor | None) -> dict[tuple[Any, ...], Tensor]:
        """Return the numbers, of shape (), under their names."""
        return {} if tensor is None else dict(zip(self.names, tensor.unbind(), strict=True))
