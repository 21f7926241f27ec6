"""A rule around curvature rescaling that measures the curvature on some steps only and holds it in between."""

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
    """Curvature rescaling whose curvature is measured now and then; in between its average stands in.

    With k steps taken, a step is measured if the last measured one lies

        min(every, 1 + ⌊k / growth⌋)

    steps back or more: all of the first ones, where the curvature moves fastest, then ever fewer. On a measured step
    the rule inside does what it does. On any other the average of what was measured takes the place of the measurement,

        c = c̃,    so that    L̃ = c̃,    τ = ℓ r,    r = κ ⟨d, g⟩ / (‖d‖² c̃),

    with the slope and the length of this step's direction; the average stays what it is.

    This is safe only where steps are short, as under `curvestep.steprules.Ceiling`: otherwise a stale average that
    is too small sends the parameters arbitrarily far before the curvature is measured again. The average of the rule
    inside counts measurements, not steps: with longer intervals its β₃ is to be smaller, or it lags behind.

    ======  ======================  ==================================================
    symbol  name                    meaning
    ======  ======================  ==================================================
    c̃       ``state["average"]``    bias-corrected average of the measured curvatures
    ======  ======================  ==================================================

    Args:
        rule: The rule that is asked.
        every: Longest number of steps from one measurement to the next, at least 1.
        growth: Number of steps after which the interval is one step longer, at least 1.

    Raises:
        ValueError: An argument is not a whole number of at least 1.

    Cost:
        On a step without measurement nothing is recorded and nothing replayed: it costs what the direction costs, and
        the slope.

    Example:
        >>> from curvestep.steprules import Probe
        >>> rule = Lazy(CurvatureRescaling(), every=2, growth=1)
        >>> measured = Probe(18.0, 144.0, 576.0, 576.0, direction_norm_sq=144.0, parameter_norm_sq=9.0)
        >>> first = rule.choose(measured, 0.5, rule.init())
        >>> held = rule.choose(Probe(8.0, 64.0, None, None, 64.0, 4.0), 0.5, first.state)
        >>> first.rescaling, held.rescaling, held.lipschitz
        (0.5, 0.5, 4.0)

    Source:
        None. The first experiments with the source's rule (MNIST, ℓ = 1) diverged when every fourth step was measured.

    Deviations:
        The source measures at every step.
    """

    rule: CurvatureRescaling | Guard
    every: int = 8
    growth: int = 10

    def __post_init__(self) -> None:
        """Refuse intervals that are none."""
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
        """What the step after ``state`` needs: no more than the slope and norms where nothing is to be measured."""
        needs = self.rule.needs_at(state)
        return needs if self._is_due(state) else needs & _UNMEASURED

    def init(self) -> RuleState:
        """Return the state of the rule inside, a count of 0 and a last measurement before it."""
        return {**self.rule.init(), LAZY_COUNT: 0, LAZY_LAST: -1}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return r from the measured curvature or from the average; see the class."""
        own = {name: value for name, value in state.items() if name not in _OWN}
        count = int(state[LAZY_COUNT])
        rule, measures = self.rule, self._is_due(state)
        if not measures:
            rescaling = rule.rule if isinstance(rule, Guard) else rule
            probe = replace(probe, absolute_curvature=rescaling.average(own) * probe.direction_norm_sq)
            # The guard looks on measured steps alone: on the others there may be no recording to look at.
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
