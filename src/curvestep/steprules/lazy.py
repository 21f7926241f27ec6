"""Curvature rescaling that measures the curvature on some steps only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import LineRequest, RuleState, StepChoice
from curvestep.steprules.curvature_rescaling import CurvatureRescaling
from curvestep.steprules.guard import Guard

#: Name in the rule's state of the number of steps so far.
LAZY_COUNT = "lazy_count"
#: Name in the rule's state of what that number was at the last measured step.
LAZY_LAST = "lazy_last"
_OWN = (LAZY_COUNT, LAZY_LAST)


_UNMEASURED = frozenset({Need.SLOPE, Need.PARAMETER_NORM})


@final
@dataclass(frozen=True)
class Lazy:
    """Curvature rescaling that measures the curvature now and then, and uses its average in between.

    With k steps taken, a step is measured if the last measured one lies

        min(every, 1 + ⌊k / growth⌋)

    steps back or more: every step at first, where the curvature changes fastest, then ever fewer. A measured step is
    that of the rule inside. On any other step the average replaces the measurement,

        c = c̃,    so that    L̃ = c̃,    τ = ℓ r,    r = κ ⟨d, g⟩ / (‖d‖² c̃),

    with the slope and the length of this step's direction; the average does not change.

    This is safe only where steps are short, as under `curvestep.steprules.Ceiling`: otherwise a stale average that
    is too small sends the parameters arbitrarily far before the curvature is measured again. The average of the rule
    inside runs over measurements, not steps: longer intervals need a smaller β₃, or the average lags behind.

    ======  ======================  ==================================================
    symbol  name                    meaning
    ======  ======================  ==================================================
    c̃       ``state["average"]``    bias-corrected average of the measured curvatures
    ======  ======================  ==================================================

    Args:
        rule: The rule inside.
        every: Longest number of steps from one measurement to the next, at least 1.
        growth: Number of steps after which the interval is one step longer, at least 1.

    Raises:
        ValueError: An argument is not a whole number of at least 1.

    Cost:
        A step without measurement costs the direction and the slope; nothing is recorded or replayed.

    Example:
        >>> from curvestep.steprules import Probe
        >>> rule = Lazy(CurvatureRescaling(), every=2, growth=1)
        >>> measured = Probe(18.0, 144.0, 576.0, 576.0, direction_norm_sq=144.0, parameter_norm_sq=9.0)
        >>> first = rule.choose(measured, 0.5, rule.init())
        >>> held = rule.choose(Probe(8.0, 64.0, None, None, 64.0, 4.0), 0.5, first.state)
        >>> first.rescaling, held.rescaling, held.lipschitz
        (0.5, 0.5, 4.0)

    Source:
        None. With the source's rule at ℓ = 1, measuring every fourth step diverged on MNIST.

    Deviations:
        The source measures at every step.
    """

    rule: CurvatureRescaling | Guard
    every: int = 8
    growth: int = 10

    def __post_init__(self) -> None:
        """Refuse intervals that are out of range."""
        for name in ("every", "growth"):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                msg = f"{name} is a number of steps and must be a whole number of at least 1, but {value!r} was given."
                raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule inside needs."""
        return self.rule.needs

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the step after ``state`` needs: slope and norms where nothing is measured."""
        needs = self.rule.needs_at(state)
        return needs if self._is_due(state) else needs & _UNMEASURED

    def init(self) -> RuleState:
        """Return the state of the rule inside, a count of 0, and −1 as the number of the last measured step."""
        return {**self.rule.init(), LAZY_COUNT: 0, LAZY_LAST: -1}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return r from the measured curvature or from the average; see the class."""
        own = {name: value for name, value in state.items() if name not in _OWN}
        count = int(state[LAZY_COUNT])
        rule, measures = self.rule, self._is_due(state)
        if not measures:
            rescaling = rule.rule if isinstance(rule, Guard) else rule
            probe = replace(probe, absolute_curvature=rescaling.average(own) * probe.direction_norm_sq)
            # The guard tests measured steps only: the others may have no recording.
            rule = rescaling
        choice = rule.choose(probe, ell, {name: own[name] for name in rule.init()})
        if isinstance(choice, LineRequest):
            return choice
        if not choice.advances:
            return replace(choice, state=state)
        held = not measures and choice.outcome is Outcome.TAKEN
        return StepChoice(
            rescaling=choice.rescaling,
            lipschitz=choice.lipschitz,
            outcome=Outcome.CURVATURE_HELD if held else choice.outcome,
            state={
                **own,
                **choice.state,
                LAZY_COUNT: count + 1,
                LAZY_LAST: count if measures else int(state[LAZY_LAST]),
            },
            advances=True,
        )

    def _is_due(self, state: RuleState) -> bool:
        """Whether the step after ``state`` is a measured one."""
        count = int(state[LAZY_COUNT])
        return count - int(state[LAZY_LAST]) >= min(self.every, 1 + count // self.growth)
