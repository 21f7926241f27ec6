"""A bias-corrected moving average of gradients as direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep import _numerics
from curvestep.directions import _moments
from curvestep.directions._base import FIRST_MOMENT, STEP, Corrections, Proposal, State


@final
@dataclass(frozen=True)
class HeavyBall:
    """d = m̃ with m ← β m + (1−β) g and m̃ = m / (1 − β^k).

    Symbols: β is ``momentum``; k is ``state["step"]``; m is ``state["exp_avg"]``.

    Args:
        momentum: β, without unit, in [0, 1).

    Raises:
        ValueError: β is outside [0, 1).

    Cost:
        One tensor of state a parameter.

    Example:
        >>> import torch
        >>> direction, weight = HeavyBall(momentum=0.5), torch.zeros(1)
        >>> states = [direction.init(weight)]
        >>> _ = direction.absorb([torch.tensor([1.0])], states)
        >>> direction.propose([torch.tensor([4.0])], states).direction    # (0.5·0.5 + 0.5·4) / (1 − 0.25)
        [tensor([3.])]

    Source:
        de Gournay and Gossard (2022), Algorithm 4, lines 4 and 5 with P = Id.

    Deviations:
        ``torch.optim.SGD(momentum=β)`` keeps Σ β^(k−i) g_i, which is m / (1−β): a factor that the curvature rescaling
        takes out again.
    """

    momentum: float

    def __post_init__(self) -> None:
        """Refuse a decay rate outside [0, 1)."""
        _moments.check_decay("momentum", self.momentum)

    def init(self, parameter: Tensor) -> State:
        """Return k = 0 and m = 0."""
        return {STEP: 0, FIRST_MOMENT: _moments.zeros(parameter)}

    def corrections(self, step: int) -> tuple[float, ...]:
        """Return 1 − β^k."""
        return (_moments.bias(self.momentum, step),)

    def propose(
        self, gradients: Sequence[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None = None
    ) -> Proposal:
        """Return m̃, and m after this gradient."""
        moments = _moments.first_moments(gradients, states, self.momentum)
        following = _moments.follow(states, {FIRST_MOMENT: moments})
        return Proposal(self._corrected(moments, states, corrections), following)

    def absorb(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return m̃, and absorb g into m."""
        moments = _moments.first_moments_(gradients, states, self.momentum)
        direction = self._corrected(moments, states, None)
        _moments.count_gradient(states)
        return direction

    def _corrected(
        self, moments: list[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None
    ) -> list[Tensor]:
        """Return m / (1 − β^k)."""
        if corrections is None:
            corrections = [self.corrections(step) for step in _moments.counts(states)]
        return _numerics.divide_each(moments, [bias for (bias,) in corrections])
