"""A rule around a rule that keeps a step short against the size that weights have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import LineRequest, RuleState, StepChoice, StepRule
from curvestep.steprules.lazy import Lazy

#: Names in the rule's state: σ, and k.
SIZE = "weight_size"
TRUST_COUNT = "trust_count"


@final
@dataclass(frozen=True)
class TrustRegion:
    """The step of another rule, shortened to a radius in units of the size that the weights had at the start.

    With σ the typical size of a weight before training, the geometric mean over the weight matrices of the root mean
    square of their entries, and k the number of the step,

        τ ≤ radius · σ · min(1, k / warmup).

    It is meant for directions whose entries are of order one, as those of Adam and RMSprop are: an entry then moves by
    at most that share of a typical weight, and the share grows to its length along a line.

    ======  ========================  ==================================================================
    symbol  name                      meaning
    ======  ========================  ==================================================================
    σ       ``probe.weight_size``     typical size of a weight; measured once, then ``state["weight_size"]``
    k       ``state["trust_count"]``  number of steps so far, this one included
    ======  ========================  ==================================================================

    What the curvature along d allows holds the step where the loss bends; this holds it where |⟨d, g⟩| is mostly the
    noise of the batch, which the rule inside takes for slope. With it a curvature may be held for some steps
    (`curvestep.steprules.Lazy`): a stale one cannot send the parameters further than the radius.

    Args:
        rule: The rule that proposes the step.
        radius: The longest τ in units of σ; above 0, without unit for directions without one.
        warmup: Number of steps over which the radius grows to its length, at least 1.

    Raises:
        ValueError: ``radius`` or ``warmup`` is out of range.

    Cost:
        One pass over the parameters at the first step.

    Example:
        Weights of size ½: the first of two steps of warm-up is at most ½ · 0.1 · ½.

        >>> from curvestep.steprules import CurvatureRescaling
        >>> probe = Probe(18.0, 12.0, 4.0, 4.0, 1.0, 9.0, weight_size=0.5)
        >>> rule = TrustRegion(CurvatureRescaling(), radius=0.1, warmup=2)
        >>> choice = rule.choose(probe, 0.5, rule.init())
        >>> round(0.5 * choice.rescaling, 9), choice.outcome.name
        (0.025, 'TRUSTED')

    Source:
        None for this form. That steps should be short against the weights is the idea of You et al., arXiv 1708.03888
        (LARS), whose unit is the present norm of each layer.

    Deviations:
        The unit is the size at the start, because a unit that grows with the weights lets the steps grow without end,
        and one number for all layers, so that the direction is not turned. Vectors do not count in it: gains of
        normalisations start at one whatever the weights are.
    """

    rule: StepRule
    radius: float = 0.15
    warmup: int = 50

    def __post_init__(self) -> None:
        """Refuse a radius or a warm-up that is none."""
        if not (math.isfinite(self.radius) and self.radius > 0.0):
            msg = f"radius is a length and must be finite and above 0, but radius={self.radius!r} was given."
            raise ValueError(msg)
        if not (isinstance(self.warmup, int) and not isinstance(self.warmup, bool) and self.warmup >= 1):
            msg = (
                "warmup is a number of steps and must be a whole number of at least 1, but "
                f"warmup={self.warmup!r} was given."
            )
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule inside needs, and the size of the weights."""
        return self.rule.needs | {Need.WEIGHT_SIZE}

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """What the step after ``state`` needs: the size of the weights at the first one alone."""
        inner = self.rule.needs_at(_inner(state)) if isinstance(self.rule, Lazy) else self.rule.needs
        return inner | {Need.WEIGHT_SIZE} if int(state[TRUST_COUNT]) == 0 else inner

    def init(self) -> RuleState:
        """Return the state of the rule inside, no size and a count of 0."""
        return {**self.rule.init(), SIZE: 0.0, TRUST_COUNT: 0}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return the r of the rule inside, or the one that goes to the radius; see the class."""
        choice = self.rule.choose(probe, ell, _inner(state))
        if isinstance(choice, LineRequest):
            return choice
        if not choice.advances:
            return replace(choice, state=state)
        count = int(state[TRUST_COUNT]) + 1
        size = probe.weight_size if count == 1 else float(state[SIZE])
        choice = replace(choice, state={**choice.state, SIZE: size, TRUST_COUNT: count})
        if not choice.outcome.moved:
            return choice
        rescaling = self.radius * size * min(1.0, count / self.warmup) / ell
        if choice.rescaling <= rescaling:
            return choice
        return replace(choice, rescaling=rescaling, outcome=Outcome.TRUSTED)


def _inner(state: RuleState) -> RuleState:
    """Return the part of the state that belongs to the rule inside."""
    return {name: value for name, value in state.items() if name not in (SIZE, TRUST_COUNT)}
