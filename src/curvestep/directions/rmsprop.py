"""The gradient over the root of its mean square as direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep import _numerics
from curvestep.directions import _moments
from curvestep.directions._base import SECOND_MOMENT, STEP, Corrections, Proposal, State


@final
@dataclass(frozen=True)
class RMSprop:
    """d = g / (√ṽ + ε) with v ← β₂ v + (1−β₂) g² and ṽ = v / (1 − β₂^k), all entry by entry.

    Symbols: β₂ is ``beta2``; ε is ``eps``; k is ``state["step"]``; v is ``state["exp_avg_sq"]``.

    Args:
        beta2: β₂, without unit, in [0, 1).
        eps: ε, in the unit of the gradient, at least 0.

    Raises:
        ValueError: β₂ or ε is out of range.

    Cost:
        One tensor of state a parameter.

    Example:
        The first step is the sign of the gradient:

        >>> import torch
        >>> direction, weight = RMSprop(eps=0.0), torch.zeros(2)
        >>> direction.propose([torch.tensor([3.0, -4.0])], [direction.init(weight)]).direction[0].round(decimals=5)
        tensor([ 1., -1.])

    Source:
        de Gournay and Gossard (2022), Algorithm 3, lines 6 and 10.

    Deviations:
        None. ``torch.optim.RMSprop`` has no bias correction; ``torch.optim.Adam`` with β₁ = 0 is this direction.
    """

    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse a decay rate outside [0, 1) and a negative eps."""
        _moments.check_decay("beta2", self.beta2)
        _moments.check_eps(self.eps)

    def init(self, parameter: Tensor) -> State:
        """Return k = 0 and v = 0."""
        return {STEP: 0, SECOND_MOMENT: _moments.zeros(parameter)}

    def corrections(self, step: int) -> tuple[float, ...]:
        """Return √(1 − β₂^k)."""
        return (math.sqrt(_moments.bias(self.beta2, step)),)

    def propose(
        self, gradients: Sequence[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None = None
    ) -> Proposal:
        """Return g / (√ṽ + ε), and v after this gradient."""
        moments = _moments.second_moments(gradients, states, self.beta2)
        following = _moments.follow(states, {SECOND_MOMENT: moments})
        return Proposal(self._scaled(gradients, moments, states, corrections), following)

    def absorb(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return g / (√ṽ + ε), and absorb g² into v."""
        moments = _moments.second_moments_(gradients, states, self.beta2)
        direction = self._scaled(gradients, moments, states, None)
        _moments.count_gradient(states)
        return direction

    def _scaled(
        self,
        gradients: Sequence[Tensor],
        moments: list[Tensor],
        states: Sequence[State],
        corrections: Sequence[Corrections] | None,
    ) -> list[Tensor]:
        """Return g / (√v / √(1 − β₂^k) + ε)."""
        if corrections is None:
            corrections = [self.corrections(step) for step in _moments.counts(states)]
        return _numerics.divide(gradients, _moments.denominators(moments, [root for (root,) in corrections], self.eps))
