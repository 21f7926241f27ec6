"""Polyak's step: where the linear model of the loss reaches the lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import RuleState, StepChoice


@final
@dataclass(frozen=True)
class Polyak:
    """r = max(J − J⋆, 0) / (‖g‖² + ε): along −g the linear model of the loss falls to J⋆ after the step r.

    ========  ===========================  ==================================
    symbol    name                         meaning
    ========  ===========================  ==================================
    J         ``probe.loss``               loss of the mini-batch
    J⋆        ``lower_bound``              lower bound of the loss
    ‖g‖²      ``probe.gradient_norm_sq``   squared norm of the whole gradient
    ε         ``eps``                      keeps the quotient finite
    r         ``choice.rescaling``         the step τ is ℓ r
    ========  ===========================  ==================================

    A loss at or below J⋆ gives r = 0 (``AT_LOWER_BOUND``), never a step uphill. The rule has no state.

    Args:
        lower_bound: J⋆, in the unit of the loss, finite.
        eps: ε, in the unit of the squared gradient, at least 0.

    Raises:
        ValueError: An argument is out of its range.

    Cost:
        None beyond the norm of the gradient.

    Example:
        J = 2 θ² at θ = 3 is 18 and g = 12: the tangent reaches 0 after the step 18 / 144.

        >>> from curvestep.steprules import Probe
        >>> probe = Probe(18.0, 144.0, None, None, 144.0, parameter_norm_sq=9.0, gradient_norm_sq=144.0)
        >>> Polyak(eps=0.0).choose(probe, ell=1.0, state={}).rescaling
        0.125

    Source:
        L. Berrada, A. Zisserman and M. P. Kumar, "Training neural networks for and by interpolation", ICML 2020
        (arXiv 1906.05661), the step of ALI-G before its cap.

    Deviations:
        The published code steps uphill where the loss is negative; here the step is 0.
    """

    lower_bound: float = 0.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse arguments that are out of range."""
        if not math.isfinite(self.lower_bound):
            msg = f"lower_bound is a value of the loss and must be finite, but {self.lower_bound!r} was given."
            raise ValueError(msg)
        if not (math.isfinite(self.eps) and self.eps >= 0.0):
            msg = f"eps is added to a squared norm and must be finite and at least 0, but eps={self.eps!r} was given."
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """The loss; the norm of the gradient is always known."""
        return frozenset({Need.LOSS})

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return the same at every step."""
        del state
        return self.needs

    def init(self) -> RuleState:
        """Return the empty state."""
        return {}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice:
        """Return r; see the class."""
        del ell
        gap = probe.loss - self.lower_bound
        if gap <= 0.0:
            return StepChoice(0.0, None, Outcome.AT_LOWER_BOUND, state, advances=True)
        denominator = probe.gradient_norm_sq + self.eps
        # Without ε a gradient whose square underflows gives an infinite step.
        rescaling = gap / denominator if denominator > 0.0 else math.inf
        return StepChoice(rescaling, None, Outcome.TAKEN, state, advances=True)
