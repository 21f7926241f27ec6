"""The gradient plus a look ahead along the sum of past gradients as direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep import _numerics
from curvestep.directions import _moments
from curvestep.directions._base import MOMENTUM, STEP, Corrections, Proposal, State


@final
@dataclass(frozen=True)
class Nesterov:
    """d = g + μ m with m ← μ m + g.

    Symbols: μ is ``momentum``; m is ``state["momentum_buffer"]``; ``state["step"]`` counts the gradients.

    Args:
        momentum: μ, without unit, in [0, 1).

    Raises:
        ValueError: μ is outside [0, 1).

    Cost:
        One tensor of state a parameter.

    Example:
        >>> import torch
        >>> direction, weight = Nesterov(momentum=0.5), torch.zeros(1)
        >>> states = [direction.init(weight)]
        >>> _ = direction.absorb([torch.tensor([2.0])], states)
        >>> direction.propose([torch.tensor([4.0])], states).direction    # 4 + 0.5·(0.5·2 + 4)
        [tensor([6.5000])]

    Source:
        Sutskever, Martens, Dahl and Hinton (2013), section 2, in the form of ``torch.optim.SGD(nesterov=True)``.
    """

    momentum: float

    def __post_init__(self) -> None:
        """Refuse a decay rate outside [0, 1)."""
        _moments.check_decay("momentum", self.momentum)

    def init(self, parameter: Tensor) -> State:
        """Return k = 0 and m = 0."""
        return {STEP: 0, MOMENTUM: _moments.zeros(parameter)}

    def corrections(self, step: int) -> tuple[float, ...]:
        """Return nothing: d does not depend on k."""
        del step
        return ()

    def propose(
        self, gradients: Sequence[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None = None
    ) -> Proposal:
        """Return g + μ m, and the m after this gradient that it is computed with."""
        del corrections
        moments = _numerics.scale([state[MOMENTUM] for state in states], self.momentum)
        moments = _numerics.add(moments, gradients)
        following = _moments.follow(states, {MOMENTUM: moments})
        return Proposal(_numerics.add(gradients, moments, alpha=self.momentum), following)

    def absorb(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Write m ← μ m + g, and return g + μ m."""
        moments = [state[MOMENTUM] for state in states]
        _numerics.scale_(moments, self.momentum)
        _numerics.add_(moments, gradients)
        _moments.count_gradient(states)
        return _numerics.add(gradients, moments, alpha=self.momentum)
