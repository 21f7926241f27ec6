"""No rescaling: the step is the learning rate itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import RuleState, StepChoice


@final
@dataclass(frozen=True)
class Constant:
    """r = 1, so that τ = ℓ: the optimizer of the direction with ℓ as its learning rate.

    Cost:
        None.

    Example:
        >>> from curvestep.steprules import Probe
        >>> probe = Probe(1.0, 4.0, None, None, direction_norm_sq=4.0, parameter_norm_sq=1.0)
        >>> Constant().choose(probe, ell=0.1, state={}).rescaling
        1.0

    Source:
        de Gournay and Gossard (2022), section 4.1: their baselines are Algorithm 3 with r_k = 1.
    """

    @property
    def needs(self) -> frozenset[Need]:
        """Only the loss, for the record."""
        return frozenset({Need.LOSS})

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return the same at every step."""
        del state
        return self.needs

    def init(self) -> RuleState:
        """Return the empty state."""
        return {}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice:
        """Return r = 1."""
        del probe, ell
        return StepChoice(rescaling=1.0, lipschitz=None, outcome=Outcome.TAKEN, state=state, advances=True)
