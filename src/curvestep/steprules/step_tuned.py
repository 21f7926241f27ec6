"""Step-Tuned SGD's factor: the Barzilai–Borwein quotient of successive gradients, under a Robbins–Monro decay."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import final

from curvestep._numerics import ratio
from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import RuleState, StepChoice


@final
@dataclass(frozen=True)
class StepTunedState:
    """The rule's state: γ, the factor of the next step, and k, the number of steps."""

    gamma: float = 1.0
    count: int = 0


@final
@dataclass(frozen=True)
class StepTuned:
    """r = γ_k / (k+1)^(½+δ): a Robbins–Monro decay times a factor that the step before has measured.

    With k = 0, 1, … and γ₀ = 1,

        γ_{k+1} = ‖Δθ‖² / ⟨Ĝ_k, Δθ⟩  where ⟨Ĝ_k, Δθ⟩ > 0, else ν,  clipped to [m, M].

    Δθ is the first half of the step and Ĝ_k the bias-corrected average of how the gradient changed over it.

    ==========  ==========================================  ===========================================
    symbol      name                                        meaning
    ==========  ==========================================  ===========================================
    ν           ``fallback``                                factor where no positive curvature was found
    m, M        ``low``, ``high``                           range of the factor
    δ           ``delta``                                   how much faster than 1/√k the steps fall
    γ_k, k      ``state["gamma"]``, ``state["count"]``
    r           ``choice.rescaling``                        the step τ is ℓ r, ℓ being the α of the source
    ==========  ==========================================  ===========================================

    Args:
        fallback: ν, without unit, above 0.
        low: m, without unit, above 0.
        high: M, without unit, finite, at least m.
        delta: δ, without unit, in [0, ½].

    Raises:
        ValueError: An argument is out of its range.

    Cost:
        A few operations on floats; the measurements for ``learn`` cost a second gradient.

    Example:
        >>> rule = StepTuned()
        >>> state = rule.learn(rule.init(), displacement_norm_sq=1.0, product=0.8)
        >>> state
        {'gamma': 1.25, 'count': 1}

    Source:
        C. Castera, J. Bolte, C. Févotte and E. Pauwels, "Second-order step-size tuning of SGD for non-convex
        optimization", Neural Processing Letters 2022 (arXiv 2103.03570), Algorithm 2 and its default values.

    Deviations:
        None.
    """

    fallback: float = 2.0
    low: float = 0.5
    high: float = 2.0
    delta: float = 0.001

    def __post_init__(self) -> None:
        """Refuse arguments that are out of range."""
        if not (math.isfinite(self.fallback) and self.fallback > 0.0):
            msg = f"fallback is a factor of the step and must be finite and above 0, but {self.fallback!r} was given."
            raise ValueError(msg)
        if not 0.0 < self.low <= self.high < math.inf:
            msg = (
                "The factor's range must be 0 < low ≤ high with high finite, but "
                f"low={self.low!r} and high={self.high!r} were given."
            )
            raise ValueError(msg)
        if not 0.0 <= self.delta <= 0.5:
            msg = f"delta is added to the exponent ½ and must lie in [0, ½], but delta={self.delta!r} was given."
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """The loss; ``learn`` takes the other measurements."""
        return frozenset({Need.LOSS})

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return the same at every step."""
        del state
        return self.needs

    def init(self) -> RuleState:
        """Return γ = 1 and k = 0."""
        return asdict(StepTunedState())

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice:
        """Return r; the state is advanced by ``learn``, once the step is known."""
        del probe, ell
        rescaling = float(state["gamma"]) / (int(state["count"]) + 1) ** (0.5 + self.delta)
        return StepChoice(rescaling, None, Outcome.TAKEN, state, advances=True)

    def learn(self, state: RuleState, displacement_norm_sq: float, product: float) -> RuleState:
        """Return the state after a step.

        Args:
            state: The state before it.
            displacement_norm_sq: ‖Δθ‖².
            product: ⟨Ĝ, Δθ⟩.

        Returns:
            The new factor and the count.
        """
        quotient = ratio(displacement_norm_sq, product) if product > 0.0 else self.fallback
        gamma = self.high if quotient is None else min(max(quotient, self.low), self.high)
        return asdict(StepTunedState(gamma, int(state["count"]) + 1))
