"""The averaged gradient over the root of the averaged square as direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep import _numerics
from curvestep.directions import _moments
from curvestep.directions._base import FIRST_MOMENT, SECOND_MOMENT, STEP, Corrections, Proposal, State


@final
@dataclass(frozen=True)
class Adam:
    """d = m̃ / (√ṽ + ε) with both averages bias-corrected, all entry by entry.

    m ← β₁ m + (1−β₁) g, m̃ = m / (1 − β₁^k); v ← β₂ v + (1−β₂) g², ṽ = v / (1 − β₂^k).
    With ``nesterov`` the gradient counts once more: m̃ = (β₁ m + (1−β₁) g) / (1 − β₁^(k+1)).

    Symbols: β₁ is ``beta1``; β₂ is ``beta2``; ε is ``eps``; k is ``state["step"]``; m is ``state["exp_avg"]``; v is
    ``state["exp_avg_sq"]``.

    Args:
        beta1: β₁, without unit, in [0, 1).
        beta2: β₂, without unit, in [0, 1).
        eps: ε, in the unit of the gradient, at least 0.
        nesterov: whether the average looks ahead by one gradient.

    Raises:
        ValueError: β₁, β₂ or ε is out of range.

    Cost:
        Two tensors of state a parameter. On the CPU and on CUDA one pass over the parameters: the kernel of
        ``torch.optim.Adam(fused=True)``, given zeros for parameters, leaves d in them; with ``nesterov`` two
        more. ``propose`` copies m and v before.

    Example:
        The first step is the sign of the gradient:

        >>> import torch
        >>> direction, weight = Adam(eps=0.0), torch.zeros(2)
        >>> direction.propose([torch.tensor([3.0, -4.0])], [direction.init(weight)]).direction[0].round(decimals=5)
        tensor([ 1., -1.])

    Source:
        de Gournay and Gossard (2022), Algorithm 4 with line 6 of Algorithm 3; Kingma and Ba (2015), Algorithm 1;
        T. Dozat, "Incorporating Nesterov Momentum into Adam" (2016), for ``nesterov``.

    Deviations:
        None in the formula of Adam. The source takes β₂ = 0.999. Dozat divides m by 1 − β₁^(k+1) and g by 1 − β₁^k, and
        ``torch.optim.NAdam`` lets β₁ grow; here one divisor makes the weights of all gradients add up to 1.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Refuse a decay rate outside [0, 1) and a negative eps."""
        _moments.check_decay("beta1", self.beta1)
        _moments.check_decay("beta2", self.beta2)
        _moments.check_eps(self.eps)

    def init(self, parameter: Tensor) -> State:
        """Return k = 0, m = 0 and v = 0."""
        return {STEP: 0, FIRST_MOMENT: _moments.zeros(parameter), SECOND_MOMENT: _moments.zeros(parameter)}

    def corrections(self, step: int) -> tuple[float, ...]:
        """Return κ = √b₂ / b₁ and ε √b₂ with b_i = 1 − β_i^k, so that d = κ m / (√v + ε √b₂).

        With ``nesterov`` b₁ = 1 − β₁^(k+1), and β₁ m + (1−β₁) g stands for m.
        """
        root = math.sqrt(_moments.bias(self.beta2, step))
        return root / _moments.bias(self.beta1, step + self.nesterov), self.eps * root

    def propose(
        self, gradients: Sequence[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None = None
    ) -> Proposal:
        """Return m̃ / (√ṽ + ε), and m and v after this gradient."""
        if corrections is None and self._fuses(gradients, states):
            following = [
                {STEP: state[STEP], **{name: state[name].clone() for name in (FIRST_MOMENT, SECOND_MOMENT)}}
                for state in states
            ]
            return Proposal(self.absorb(gradients, following), following)
        if corrections is None:
            corrections = [self.corrections(step) for step in _moments.counts(states)]
        firsts = _moments.first_moments(gradients, states, self.beta1)
        ahead = _numerics.lerp(firsts, gradients, 1.0 - self.beta1) if self.nesterov else firsts
        seconds = _moments.second_moments(gradients, states, self.beta2)
        denominators = _numerics.sqrt(seconds)
        _numerics.shift_each_(denominators, [eps for _, eps in corrections])
        direction = _numerics.divide(ahead, denominators)
        _numerics.scale_each_(direction, [factor for factor, _ in corrections])
        return Proposal(direction, _moments.follow(states, {FIRST_MOMENT: firsts, SECOND_MOMENT: seconds}))

    def absorb(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return m̃ / (√ṽ + ε), and absorb g into m and g² into v."""
        if self._fuses(gradients, states):
            return self._fused(gradients, states)
        proposal = self.propose(gradients, states)
        for state, following in zip(states, proposal.following, strict=True):
            state[STEP] = following[STEP]
            state[FIRST_MOMENT].copy_(following[FIRST_MOMENT])
            state[SECOND_MOMENT].copy_(following[SECOND_MOMENT])
        return proposal.direction

    def cannot_vanish(self, gradients: Sequence[Tensor], states: Sequence[State]) -> bool:
        """Whether the next direction is certainly not zero, told without making it; where it may be, False.

        m̃ is a sum of m and g with factors that are not negative, that of g above 0: where ⟨m, g⟩ ≥ 0 and ‖g‖ > 0 it is
        no shorter than its part of g.

        Args:
            gradients: Those that the next step has, finite.
            states: Those of the parameters, finite.

        Returns:
            Whether it is certain.
        """
        firsts = [state[FIRST_MOMENT] for state in states]
        squared, along = _numerics.sums_to_host(_numerics.squares(gradients), _numerics.dots(firsts, gradients))
        return 0.0 < squared < math.inf and along >= 0.0

    def variances(self, states: Sequence[State]) -> list[Tensor]:
        """Return ṽ − m² entry by entry, at least 0: an estimate of the variance of a batch's gradient.

        Args:
            states: Those of the parameters, after at least one gradient.
        """
        corrected = _numerics.divide_each(
            [state[SECOND_MOMENT] for state in states], [_moments.bias(self.beta2, state[STEP]) for state in states]
        )
        return [
            (second - state[FIRST_MOMENT].square()).clamp_min_(0.0)
            for second, state in zip(corrected, states, strict=True)
        ]

    def _fused(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return what ``absorb`` does, by the kernel."""
        firsts, counts = [state[FIRST_MOMENT] for state in states], _moments.counts(states)
        seconds = [state[SECOND_MOMENT] for state in states]
        ahead = self.nesterov and self.beta1 > 0.0
        if ahead:
            _moments.first_moments_(gradients, states, self.beta1)
        direction = _numerics.fused_adam_(gradients, firsts, seconds, counts, self.beta1, self.beta2, self.eps)
        if ahead:
            # The kernel has averaged g a second time. This takes it out of m again, to the rounding of m: a copy of m
            # would be one more allocation a step, which costs several passes.
            _numerics.lerp_(firsts, gradients, 1.0 - 1.0 / self.beta1)
            biases = [_moments.bias(self.beta1, count) / _moments.bias(self.beta1, count + 1) for count in counts]
            if any([factor != 1.0 for factor in biases]):
                _numerics.scale_each_(direction, biases)
        _moments.count_gradient(states)
        return direction

    def _fuses(self, gradients: Sequence[Tensor], states: Sequence[State]) -> bool:
        """Whether one kernel can do all of it in a single pass."""
        firsts, seconds = [state[FIRST_MOMENT] for state in states], [state[SECOND_MOMENT] for state in states]
        return _numerics.fuses_adam(gradients, firsts, seconds)
