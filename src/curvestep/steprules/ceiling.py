"""The step of another rule under a ceiling that does not depend on the length of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import LineRequest, RuleState, StepChoice, StepRule

#: Name in the rule's state of k.
CEILING_COUNT = "ceiling_count"


@final
@dataclass(frozen=True)
class Ceiling:
    """The step of another rule, at most a height that rises along a line and then falls as one over √k.

    With k the number of the step and w the length of the rise,

        τ ≤ peak · min(k / w, √(w / k)).

    It is meant for directions whose entries are of order one, as those of Adam and RMSprop are: then τ is the most that
    an entry moves.

    ======  ==========================  ===================================================
    symbol  name                        meaning
    ======  ==========================  ===================================================
    k       ``state["ceiling_count"]``  number of steps so far, this one included
    w       ``warmup``                  the step at which the ceiling is highest
    ======  ==========================  ===================================================

    The curvature along d limits the step where the loss bends. The ceiling limits it where |⟨d, g⟩| is mostly noise of
    the batch, which the rule inside treats as slope. Under it a curvature may be used for several steps
    (`curvestep.steprules.Lazy`): an outdated one cannot send the parameters far.

    Args:
        rule: The rule that proposes the step.
        peak: Height at step w, above 0; in the unit of the parameters for directions without one.
        warmup: w, at least 1.
        level: The ℓ at which the ceiling is this high; at others it is ℓ / level as high, so that a schedule of ℓ
            scales every step. None: the same height at every ℓ.

    Raises:
        ValueError: ``peak`` or ``warmup`` is out of range.

    Cost:
        A few operations on floats of the host.

    Example:
        The measured step is ½ · 6; at step 1 of a rise of 2 the ceiling is half its peak, after it the peak and less.

        >>> from curvestep.steprules import CurvatureRescaling
        >>> probe = Probe(18.0, 12.0, 4.0, 4.0, 1.0, 9.0)
        >>> rule = Ceiling(CurvatureRescaling(), peak=0.1, warmup=2)
        >>> state, sizes = rule.init(), []
        >>> for _ in range(8):
        ...     choice = rule.choose(probe, 0.5, state)
        ...     state = choice.state
        ...     sizes.append(round(0.5 * choice.rescaling, 3))
        >>> sizes, choice.outcome.name
        ([0.05, 0.1, 0.082, 0.071, 0.063, 0.058, 0.053, 0.05], 'UNDER_CEILING')

    Source:
        The shape is that of A. Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, equation (3).

    Deviations:
        There it is the learning rate itself; here it is the most that a measured step may be.
    """

    rule: StepRule
    peak: float
    warmup: int = 100
    level: float | None = None

    def __post_init__(self) -> None:
        """Refuse a height or a rise that is out of range."""
        if not (math.isfinite(self.peak) and self.peak > 0.0):
            msg = f"peak is the longest step and must be finite and above 0, but peak={self.peak!r} was given."
            raise ValueError(msg)
        if not (isinstance(self.warmup, int) and not isinstance(self.warmup, bool) and self.warmup >= 1):
            msg = (
                "warmup is a number of steps and must be a whole number of at least 1, but "
                f"warmup={self.warmup!r} was given."
            )
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule inside needs."""
        return self.rule.needs

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """What the step after ``state`` needs."""
        return self.rule.needs_at(state)

    def init(self) -> RuleState:
        """Return the state of the rule inside and a count of 0."""
        return {**self.rule.init(), CEILING_COUNT: 0}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return the r of the rule inside, or the one that goes to the ceiling; see the class."""
        choice = self.rule.choose(probe, ell, _inner(state))
        if isinstance(choice, LineRequest):
            return choice
        if not choice.advances:
            return replace(choice, state=state)
        count = int(state[CEILING_COUNT]) + 1
        rescaling, outcome = choice.rescaling, choice.outcome
        highest = self.peak * min(count / self.warmup, math.sqrt(self.warmup / count))
        highest /= ell if self.level is None else self.level
        if rescaling > highest and outcome.moved:
            rescaling, outcome = highest, Outcome.UNDER_CEILING
        return StepChoice(rescaling, choice.lipschitz, outcome, {**choice.state, CEILING_COUNT: count}, advances=True)


def _inner(state: RuleState) -> RuleState:
    """Return the part of the state that belongs to the rule inside."""
    return {name: value for name, value in state.items() if name != CEILING_COUNT}
