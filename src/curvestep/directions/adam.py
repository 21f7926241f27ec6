"""The averaged gradient over the root of the averaged square as direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep import _numerics
from curvestep.directions import _moments
from curvestep.directions._base import FIRST_MOMENT, SECOND_MOMENT, STEP, State


@final
@dataclass(frozen=True)
class Adam:
    """d = m̃ / (√ṽ + ε) with both averages bias-corrected, all entry by entry.

    m ← β₁ m + (1−β₁) g, m̃ = m / (1 − β₁^k); v ← β₂ v + (1−β₂) g², ṽ = v / (1 − β₂^k).

    Symbols: β₁ is ``beta1``; β₂ is ``beta2``; ε is ``eps``; k is ``state["step"]``; m is ``state["exp_avg"]``; v is
    ``state["exp_avg_sq"]``.

    Args:
        beta1: β₁, without unit, in [0, 1).
        beta2: β₂, without unit, in [0, 1).
        eps: ε, in the unit of the gradient, at least 0.

    Raises:
        ValueError: β₁, β₂ or ε is out of range.

    Cost:
        Two tensors of state a parameter.

    Example:
        The first step is the sign of the gradient:

        >>> import torch
        >>> direction, weight = Adam(eps=0.0), torch.zeros(2)
        >>> direction.propose([torch.tensor([3.0, -4.0])], [direction.init(weight)])[0].round(decimals=5)
        tensor([ 1., -1.])

    Source:
        de Gournay and Gossard (2022), Algorithm 4 with line 6 of Algorithm 3; Kingma and Ba (2015), Algorithm 1.

    Deviations:
        None in the formula. The source takes β₂ = 0.999.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse a decay rate outside [0, 1) and a negative eps."""
        _moments.check_decay("beta1", self.beta1)
        _moments.check_decay("beta2", self.beta2)
        _moments.check_eps(self.eps)

    def init(self, parameter: Tensor) -> State:
        """Return k = 0, m = 0 and v = 0."""
        return {STEP: 0, FIRST_MOMENT: _moments.zeros(parameter), SECOND_MOMENT: _moments.zeros(parameter)}

    def propose(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return m̃ / (√ṽ + ε)."""
        direction = _moments.next_first_moment(gradients, states, self.beta1)
        _numerics.divide_(direction, _moments.next_denominator(gradients, states, self.beta2, self.eps))
        return direction

    def advance(self, gradients: Sequence[Tensor], states: Sequence[State]) -> None:
        """Absorb g into m and g² into v."""
        _moments.advance_first_moment(gradients, states, self.beta1)
        _moments.advance_second_moment(gradients, states, self.beta2)
        _moments.count_gradient(states)
