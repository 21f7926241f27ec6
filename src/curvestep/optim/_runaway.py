"""When to warn of a run whose steps are all as long as they may be, or are all skipped."""

from __future__ import annotations

from curvestep._records import LONGEST, NON_FINITE, StepRecord

#: How far steps of the longest length may lead in a row before a warning, in units of max(‖θ₀‖, 1).
_MOST_TRAVELLED = 100.0
#: How many steps in a row may be skipped before a warning.
_MOST_SKIPPED = 20


def drift(former: float, step: StepRecord, reach: float) -> float:
    """Return how near a run is to the warning after a step: 0 after an ordinary step, at least 1 when it is due.

    Args:
        former: The number before the step.
        step: What the step did.
        reach: max(‖θ₀‖, 1), or infinity where the rule has no longest step.
    """
    if step.outcome in LONGEST:
        return former + step.step_size * (step.direction_norm or 0.0) / reach / _MOST_TRAVELLED
    return former + 1.0 / _MOST_SKIPPED if step.outcome in NON_FINITE else 0.0


def sentence(step: StepRecord) -> str:
    """Return what the warning says of the optimizer."""
    return (
        f"has run away or come to a stop. Its last steps all ended like this: {step.outcome.value} Begin again from an "
        "earlier state with a smaller lr (ℓ) or max_relative_step; a loss or a gradient that is not finite has its "
        "cause in the model or the data."
    )
