"""The decision of a step: refusals before the rule is asked, the rule's choice, and what must hold of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NoReturn, final

from curvestep._errors import CurvestepError
from curvestep._probe import Need, Probe
from curvestep._records import Outcome, StepRecord
from curvestep.optim._proof import require_cleared
from curvestep.steprules import LineRequest, RuleState, StepChoice, StepRule

#: How often a rule may ask for losses along a line in one step.
MOST_REQUESTS = 64

#: Measures the losses that a rule asks for, and returns the probe that holds them.
Look = Callable[[Probe, LineRequest], Probe]


def refusal(numbers: Mapping[str, float]) -> Outcome | None:
    """Return why no step can be taken from this loss and gradient, or None.

    Raises:
        RecordingError: A step can be taken, but the gradient is that of more than was recorded.
    """
    if not math.isfinite(numbers.get("loss", 0.0)):
        return Outcome.NON_FINITE_LOSS
    if not math.isfinite(numbers["gradient_norm_sq"]):
        return Outcome.NON_FINITE_GRADIENT
    if numbers["gradient_norm_sq"] == 0.0:
        return Outcome.ZERO_GRADIENT
    require_cleared(numbers)
    return None


def probe_of(numbers: Mapping[str, float], resolution: float = Probe.resolution) -> Probe:
    """Return the measurements of a step under the names of a ``Probe``; NaN or None for what was not measured."""
    return Probe(
        loss=numbers.get("loss", math.nan),
        slope=numbers["slope"],
        curvature=numbers.get("curvature"),
        absolute_curvature=numbers.get("absolute_curvature"),
        direction_norm_sq=numbers["direction_norm_sq"],
        parameter_norm_sq=numbers.get("parameter_norm_sq", math.nan),
        gradient_norm_sq=numbers["gradient_norm_sq"],
        weight_size=numbers.get("weight_size", math.nan),
        resolution=resolution,
    )


def decide(
    rule: StepRule,
    needs: frozenset[Need],
    probe: Probe,
    ell: float,
    state: RuleState,
    largest: float,
    look: Look | None = None,
    limit: float = math.inf,
) -> StepChoice:
    """Ask a rule how far to go, and refuse what must not reach a parameter.

    Args:
        rule: The rule.
        needs: What it has declared for this step; the rest it cannot read.
        probe: All that was measured.
        ell: ℓ, above 0.
        state: The rule's state.
        largest: The largest number that the parameters' dtypes hold.
        look: Measures along the line; None where the step has no recording to measure on.
        limit: The largest τ that the optimizer takes.

    Returns:
        The rule's choice; or no step with its state unchanged, where ‖d‖ or the slope, or τ or τ ‖d‖ of the choice, is
        not finite or out of the dtype's range.

    Raises:
        CurvestepError: The rule reads or asks for what it has not declared, or asks for losses more than 64 times.
    """
    if not (math.isfinite(probe.direction_norm_sq) and math.isfinite(probe.slope)):
        return _no_step(Outcome.NON_FINITE_CURVATURE, state)
    name = type(rule).__name__
    for _ in range(MOST_REQUESTS):
        choice = rule.choose(seen_by(probe, name, needs), ell, state)
        if isinstance(choice, StepChoice):
            return _checked(choice, probe, min(ell * choice.rescaling, limit), state, largest)
        probe = _answered(choice, name, needs, probe, look)
    msg = (
        f"{name} asked {MOST_REQUESTS} times for losses along the line without choosing a step: let choose return a "
        "StepChoice after a bounded number of requests."
    )
    raise CurvestepError(msg)


def _answered(asked: LineRequest, name: str, needs: frozenset[Need], probe: Probe, look: Look | None) -> Probe:
    """Return the probe with the losses that were asked for."""
    missing = {Need.LINE, *([Need.LAST_STEP] if asked.along == "last step" else [])} - needs
    if missing or look is None:
        declared = ", ".join(sorted(f"Need.{need.name}" for need in missing)) or "Need.LINE"
        msg = (
            f"{name} asks for losses along the {asked.along}, which it has not declared: add {declared} to what its "
            "needs and needs_at return."
        )
        raise CurvestepError(msg)
    return look(probe, asked)


def _checked(choice: StepChoice, probe: Probe, size: float, state: RuleState, largest: float) -> StepChoice:
    """Return the choice, or no step where a parameter could not hold the result of a step of this size."""
    if not choice.outcome.moved:
        return choice
    # No entry of τ d is larger than τ ‖d‖; half of the range is left to the parameters.
    length = abs(size) * math.sqrt(probe.direction_norm_sq)
    if abs(size) <= 0.5 * largest and length <= 0.5 * largest:  # false for NaN
        return choice
    return _no_step(Outcome.NON_FINITE_STEP, state)


def _no_step(outcome: Outcome, state: RuleState) -> StepChoice:
    """Return the choice of no step and no change of state."""
    return StepChoice(rescaling=0.0, lipschitz=None, outcome=outcome, state=state, advances=False)


def record_of(probe: Probe, choice: StepChoice, ell: float, steps: int, step_size: float | None = None) -> StepRecord:
    """Return the record of a step whose direction was measured; τ = ℓ r unless it is given."""
    return StepRecord(
        loss=None if math.isnan(probe.loss) else probe.loss,
        slope=probe.slope,
        curvature=probe.curvature,
        absolute_curvature=probe.absolute_curvature,
        lipschitz=choice.lipschitz,
        rescaling=choice.rescaling,
        ell=ell,
        step_size=ell * choice.rescaling if step_size is None else step_size,
        direction_norm=math.sqrt(probe.direction_norm_sq) if probe.direction_norm_sq >= 0.0 else math.nan,
        outcome=choice.outcome,
        step=steps,
    )


# ------------------------------------------------------------------------------------- what a rule has not declared

_FIELDS = {
    Need.LOSS: "loss",
    Need.SLOPE: "slope",
    Need.CURVATURE: "curvature",
    Need.ABSOLUTE_CURVATURE: "absolute_curvature",
    Need.PARAMETER_NORM: "parameter_norm_sq",
    Need.WEIGHT_SIZE: "weight_size",
}


def seen_by(probe: Probe, rule: str, needs: frozenset[Need]) -> Probe:
    """Return a probe from which a rule can read its needs only."""
    withheld = _withheld(rule, needs)
    if not withheld:
        return probe
    seen = object.__new__(Probe)  # dataclasses.replace would take longer than the rule
    vars(seen).update(vars(probe))
    vars(seen).update(withheld)
    return seen


@lru_cache(maxsize=64)
def _withheld(rule: str, needs: frozenset[Need]) -> dict[str, Undeclared]:
    """Return what stands in the place of measurements that are not declared."""
    return {name: Undeclared(rule, need) for need, name in _FIELDS.items() if need not in needs}


@final
class Undeclared(float):
    """A measurement that the rule has not declared: NaN, and any arithmetic with it is refused."""

    rule: str
    need: Need

    def __new__(cls, rule: str, need: Need) -> Undeclared:
        """Make a NaN with the name of the rule and of what it withholds."""
        self = super().__new__(cls, math.nan)
        self.rule, self.need = rule, need
        return self

    def _refuse(self, *operands: object) -> NoReturn:
        del operands
        msg = (
            f"{self.rule} reads {self.need.value}, which it has not declared: add Need.{self.need.name} to what its "
            "needs and needs_at return."
        )
        raise CurvestepError(msg)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _refuse  # type: ignore[assignment]
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse
