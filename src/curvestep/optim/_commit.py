"""The one place that writes: what a decided step changes in parameters, states and groups."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from curvestep import _numerics
from curvestep._numerics import as_dtype, working_dtype
from curvestep._shards import locals_of
from curvestep.directions import State
from curvestep.optim._average import AVERAGING, WINDOW_GROWTH, absorb, starts
from curvestep.optim._gather import LAST_STEP, Part
from curvestep.optim._options import MEASUREMENTS
from curvestep.steprules import RuleState

#: Name in every parameter group of τ_i, the learning rate that the last step amounted to there.
EFFECTIVE_LR = "effective_lr"
#: Name in every parameter group of the number of times that the optimizer's state was advanced.
STEPS = "steps"
#: Name in every parameter group of the step rule's state; the same in all of them.
RULE_STATE = "rule_state"


@final
@dataclass(frozen=True)
class Move:
    """θ ← kept θ − size · displacement for the parameters of a group."""

    parameters: Sequence[Tensor]  # θ
    displacement: Sequence[Tensor]  # a tensor for each of them
    size: float  # the factor of the displacement
    kept: float = 1.0  # what a decoupled weight decay leaves of θ, in [0, 1]


def kept_by_decay(decay: float, step_size: float) -> float:
    """Return 1 − τ λ_dec: a step so long that it would be negative takes the parameters to zero, not beyond."""
    return max(0.0, 1.0 - step_size * decay) if decay > 0.0 else 1.0


def keep_last_steps(parts: Sequence[Part], directions: Sequence[Sequence[Tensor]], step_size: float) -> None:
    """Keep u = τ d in the state of every parameter that is about to move."""
    for part, direction in zip(parts, directions, strict=True):
        for state, displacement in zip(part.states, _numerics.scale(direction, step_size), strict=True):
            state[LAST_STEP] = displacement.to(working_dtype(displacement.dtype))


def advance(
    states: MutableMapping[Tensor, State],
    groups: Sequence[dict[str, Any]],
    following: Sequence[tuple[Tensor, State]],
    rule_state: RuleState,
    *,
    measured: bool = False,
) -> int:
    """Make the states that follow those of the parameters, keep the rule's state in every group, and count the step.

    Args:
        states: the optimizer's.
        groups: the optimizer's.
        following: the states that come next.
        rule_state: that of the rule.
        measured: whether the step measured a curvature; the next measurement then takes the next part of its batch.

    Returns:
        How many times the state was advanced, this one included.
    """
    for parameter, state in following:
        states[parameter] = state
    steps = int(groups[0][STEPS]) + 1
    for group in groups:
        group[RULE_STATE] = dict(rule_state)
        group[STEPS] = steps
        if measured:
            group[MEASUREMENTS] += 1
    return steps


def move(
    states: MutableMapping[Tensor, State], groups: Sequence[dict[str, Any]], moves: Sequence[Move], steps: int
) -> None:
    """Write the parameters, and absorb them into their averages where some are kept; ``advance`` comes first."""
    gamma = groups[0].get(AVERAGING)
    begun = {} if gamma is None else starts([p for each in moves for p in each.parameters], states)
    for each in moves:
        held = locals_of(each.parameters)
        if each.kept != 1.0:
            _numerics.scale_(held, each.kept)
        rounded = [as_dtype(d, p.dtype) for d, p in zip(each.displacement, held, strict=True)]
        _numerics.add_(held, rounded, alpha=-each.size)
    if gamma is not None:
        every = [p for group in groups for p in group["params"]]
        absorb(every, states, begun, steps, gamma, windowed=WINDOW_GROWTH in groups[0])
