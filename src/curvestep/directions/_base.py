"""The contract of a direction: which way the parameters move, before a step rule says how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

#: The bias corrections of a parameter's direction, which depend on the number of its gradients alone: floats, or
#: tensors of shape (). Each direction says which they are.
Corrections = Sequence[float | Tensor]


@dataclass(frozen=True)
class Proposal:
    """A direction, and the states that it was computed with.

    Attributes:
        direction: d, a tensor for each gradient.
        following: For each gradient its state after the step, in new tensors, under the names of the direction's state
            only.
    """

    direction: list[Tensor]
    following: list[State]


class Direction(Protocol):
    """Gives d for the update θ ← θ − τ d from the gradients g and a state per parameter, in one of two forms.

    ``propose`` is pure and returns the states that belong to d: if the curvature along d is not finite, the step is
    skipped and the former states stay. ``absorb`` writes the states in place, for steps that cannot be refused. Both
    give the same d and the same states bit for bit. Gradients arrive in float32 or wider, and are never written to.
    """

    def init(self, parameter: Tensor) -> State:
        """Return the state of a parameter before its first gradient.

        Args:
            parameter: The parameter, of which shape, dtype and device are read.
        """
        ...

    def corrections(self, step: int) -> tuple[float, ...]:
        """Return the bias corrections of a parameter's k-th gradient.

        Args:
            step: k, counted from 1.
        """
        ...

    def propose(
        self, gradients: Sequence[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None = None
    ) -> Proposal:
        """Return d and the states that follow, and change nothing.

        Args:
            gradients: g, a tensor for each parameter.
            states: Their states.
            corrections: For each parameter what `corrections` returns, given by a graph that is traced once and run at
                every step, as tensors of shape (). The operations are then out of place, and d may differ in the last
                bits. None to count by the states.

        Returns:
            The direction, and the states after the step.
        """
        ...

    def absorb(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return d and write the states that follow into the given ones, in place.

        Args:
            gradients: g, a tensor for each parameter.
            states: Their states.
        """
        ...
