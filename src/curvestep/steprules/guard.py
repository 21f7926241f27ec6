"""A rule around curvature rescaling that looks at the loss where the step would end, and shortens it where it must."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import LineRequest, RuleState, StepChoice
from curvestep.steprules.curvature_rescaling import CurvatureRescaling

#: Name in the rule's state of the number of steps.
GUARD_COUNT = "guard_count"

# Both losses of a comparison are sums of many rounded terms: sixteen roundings leave room for them.
_ROUNDINGS = 16.0
# Factor on the curvature where the loss is not finite, which shows only that the step is far too long.
_RETREAT = 4.0
# Far from θ the secant may measure a wall behind the valley: one retreat divides the step by ten at most.
_MOST_RISE = 10.0
# Least factor on L from the second retreat. One or two secants suffice for a smooth loss; for any other, this factor at
# every retreat takes the step below the rounding of any parameter.
_LEAST_RISE = 1.25
_MOST_RETREATS = 170


@final
@dataclass(frozen=True)
class Guard:
    """Curvature rescaling held to its own bound: L̃ is raised until the loss at the end of the step keeps to it.

    With s = ⟨∇J, d⟩ and L the curvature that the step τ = ℓ r was computed from, equation (9) promises

        J(θ − τ d) ≤ J(θ) − τ s + τ²/2 L ‖d‖²                                                            (*)

    if L is the largest curvature between 0 and τ; it is measured at 0 only. The guard measures the left side. Where (*)
    holds, the step is that of the rule, bit for bit. Where it does not, the mean curvature over [0, τ], the secant's

        L' = 2 (J(θ − τ d) − J(θ) + τ s) / (τ² ‖d‖²) > L,

    replaces the measured c: r is computed from L', L' enters the rule's average and so the next steps, and (*) is
    tested again with L = L'. From the second retreat, L rises by a quarter at least, so that the retreats end. With τ =
    ℓ r and the rule's constant 2, (*) is J(θ − τ d) ≤ J(θ) − (ℓ − ℓ²) r s: a decrease for ℓ < 1, the same loss at most
    for ℓ = 1, and no more than the parabola's rise for ℓ > 1.

    ==========  ===========================  =================================================
    symbol      name                         meaning
    ==========  ===========================  =================================================
    J(θ − τ d)  ``probe.line``               loss at the end of the step, on the same batch
    s           ``probe.slope``              slope along d
    L, L'       ``choice.lipschitz``         curvature that the step was computed from
    ==========  ===========================  =================================================

    - (*) allows for rounding: 16 ε max(|J(θ)|, |J(θ − τ d)|), ε being ``probe.resolution``.
    - One retreat divides the step by ten at most: L' may be the curvature of a wall far behind the valley.
    - A loss that is not finite at the end of the step counts as four times the curvature from which a rule computes
      that step.
    - Direction of ascent with the absolute slope, s < 0: (*) keeps the sign of s. It allows the first-order rise τ |s|
      of this step, and bounds the curvature by L as elsewhere: the loss may rise to J + (ℓ + ℓ²) r |s|. For no such
      step use ``slope="signed"``.
    - If the rule takes no step (ascent, not finite, length zero), neither does the guard, and nothing is measured.

    Args:
        rule: The rule that is guarded.
        every: The bound is tested on every ``every``-th step, the first one included; at least 1.

    Raises:
        ValueError: ``every`` is not a whole number of at least 1.

    Cost:
        One forward pass and one host synchronisation on a guarded step, and one of each more for every retreat.

    Example:
        On √(1 + θ²) at θ = 2 the curvature 5^(−3/2) sends ℓ = ½ to −8. The loss there is too high. The curvature of
        the secant sends it to −1.03, and that of a second one to −0.15, where the bound holds.

        >>> from curvestep.steprules import LineSample, Probe
        >>> from curvestep.steprules import CurvatureRescaling
        >>> J, slope = lambda theta: (1 + theta**2) ** 0.5, 2 / 5**0.5
        >>> probe = Probe(J(2.0), slope**2, slope**2 / 5**1.5, slope**2 / 5**1.5, slope**2, 4.0)
        >>> rule = Guard(CurvatureRescaling())
        >>> choice = rule.choose(probe, 0.5, rule.init())
        >>> while not hasattr(choice, "rescaling"):
        ...     (t,) = choice.steps
        ...     probe = Probe(**{**vars(probe), "line": (*probe.line, LineSample(t, J(2.0 - t * slope)))})
        ...     choice = rule.choose(probe, 0.5, rule.init())
        >>> [round(2.0 - sample.step * slope, 2) for sample in probe.line]
        [-8.0, -1.03, -0.15]

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022: equations (8) and (9), and section 2.2 on what the value at t = 0 leaves open.

    Deviations:
        The source replaces the maximum in (8) by the value at t = 0 and stops there.
    """

    rule: CurvatureRescaling
    every: int = 1

    def __post_init__(self) -> None:
        """Refuse an interval that is out of range."""
        if not (isinstance(self.every, int) and not isinstance(self.every, bool) and self.every >= 1):
            msg = f"every is a number of steps and must be a whole number of at least 1, but {self.every!r} was given."
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """What the guarded rule needs, and the loss along the line."""
        return self.rule.needs | {Need.LINE}

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the guarded rule needs after ``state``, and the loss along the line."""
        return self.rule.needs_at(state) | {Need.LINE}

    def init(self) -> RuleState:
        """Return the guarded rule's state and a count of 0."""
        return {**self.rule.init(), GUARD_COUNT: 0}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return r, or ask for the loss where that step would end; see the class."""
        own = {name: value for name, value in state.items() if name != GUARD_COUNT}
        count = int(state.get(GUARD_COUNT, 0))
        choice = self.rule.choose(probe, ell, own)
        if count % self.every == 0:
            losses = {sample.step: sample.loss for sample in probe.line}
            for retreats in range(_MOST_RETREATS):
                step = ell * choice.rescaling
                if not choice.outcome.moved or step == 0.0:
                    break
                if step not in losses:
                    return LineRequest((step,))
                lipschitz = choice.lipschitz or 0.0
                if _keeps_to_the_bound(probe, step, losses[step], lipschitz):
                    break
                # The curvature from which the rule computes this step: more than L where the cap shortened it.
                implied = self.rule.constant * abs(probe.slope) / (probe.direction_norm_sq * choice.rescaling)
                implied = max(implied, lipschitz)
                raised = _RETREAT * implied
                if math.isfinite(losses[step]):
                    raised = min(_secant(probe, step, losses[step]), _MOST_RISE * implied)
                raised = max(raised, lipschitz if retreats == 0 else _LEAST_RISE * lipschitz)
                choice = self._shortened(probe, ell, own, choice, raised)
        return replace(choice, state={**choice.state, GUARD_COUNT: count + 1} if choice.advances else state)

    def _shortened(self, probe: Probe, ell: float, own: RuleState, former: StepChoice, curvature: float) -> StepChoice:
        """Return the rule's choice for a curvature of L' in place of c; always shorter than the one before."""
        length_sq = probe.direction_norm_sq
        choice = self.rule.choose(replace(probe, absolute_curvature=curvature * length_sq), ell, own)
        # The cap, or the lower end of a band, may leave the step unchanged.
        shortened = choice.rescaling < former.rescaling
        rescaling = choice.rescaling if shortened else 0.5 * former.rescaling
        return replace(choice, rescaling=rescaling, outcome=Outcome.GUARDED)


def _secant(probe: Probe, step: float, loss: float) -> float:
    """Return L', the mean curvature between 0 and the step."""
    return 2.0 * (loss - probe.loss + step * probe.slope) / (step * step * probe.direction_norm_sq)


def _keeps_to_the_bound(probe: Probe, step: float, loss: float, lipschitz: float) -> bool:
    """Whether J(θ − τ d) ≤ J − τ s + τ²/2 L ‖d‖², up to the rounding of the losses."""
    if not math.isfinite(loss):
        return False
    bound = probe.loss - step * probe.slope + 0.5 * step * step * lipschitz * probe.direction_norm_sq
    return loss <= bound + _ROUNDINGS * probe.resolution * max(abs(probe.loss), abs(loss))
