"""The contract of a direction: what way the parameters are to move, before anyone asks how far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

#: Name in ``optimizer.state[p]`` of the number of gradients this parameter has absorbed.
STEP = "step"
#: Name in ``optimizer.state[p]`` of the moving average of gradients.
FIRST_MOMENT = "exp_avg"
#: Name in ``optimizer.state[p]`` of a decayed sum of gradients or of steps.
MOMENTUM = "momentum_buffer"
#: Name in ``optimizer.state[p]`` of the moving average of squared gradients.
SECOND_MOMENT = "exp_avg_sq"

#: The state of one parameter, as it lies in ``optimizer.state[p]``.
State = dict[str, Any]


class Direction(Protocol):
    """Proposes d for the update θ ← θ − τ d from the gradients g and a state per parameter.

    ``propose`` is pure, and ``advance`` makes the state that it assumed permanent. They are two calls because the
    curvature along d is only known after d: where it is not finite the step is skipped and the state must be what it
    was. Gradients arrive in float32 or wider, and are never written to.
    """

    def init(self, parameter: Tensor) -> State:
        """Return the state of a parameter that has seen no gradient."""
        ...

    def propose(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return d, a tensor for each gradient, and change nothing."""
        ...

    def advance(self, gradients: Sequence[Tensor], states: Sequence[State]) -> None:
        """Absorb the gradients into the states, in place."""
        ...
