"""What one call of ``step`` did: an outcome that is a sentence, and the numbers behind it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields


class Outcome(enum.Enum):
    """How a step ended. The value of a member is a sentence; ``moved`` says whether the parameters were updated."""

    TAKEN = "The step that the rule asked for was taken."
    ABSOLUTE_SLOPE = (
        "The direction was one of ascent for this batch, and the step of the absolute slope was taken along it."
    )
    CLAMPED = "The step was longer than max_relative_step allows and was shortened to that length."
    KEPT = "The step size of the last measurement was kept: none was due, or it found no minimum ahead."
    LIMITED = "The minimum of the parabola lay outside what one measurement may change, and the nearest step was taken."
    OPENS_DOWN = (
        "The parabola through the losses opens downwards or cannot be told from a line, and the step for this case was "
        "taken."
    )
    UNDER_CEILING = "The step was above the ceiling of this step's number and was lowered to it."
    CURVATURE_HELD = "The step was taken from the slope of this batch and the curvature that was measured last."
    OUT_OF_BAND = "The step size lay outside the Robbins–Monro band and was moved to its nearest end."
    GUARDED = (
        "The loss at the end of the step was above the bound that the measured curvature promises, and the step was "
        "shortened until it was not."
    )
    CAPPED = "The step size was larger than its cap and was lowered to it."
    AT_LOWER_BOUND = (
        "The loss is at or below its lower bound: the step size is 0, and only momentum moved the parameters."
    )
    FLAT_CURVATURE = (
        "The curvature along the direction was zero or too small to divide by, and the longest step that "
        "max_relative_step allows was taken."
    )
    ASCENT_DIRECTION = (
        "The direction was one of ascent for this batch, and the rule keeps the slope's sign: the parameters were left "
        "where they were."
    )
    WINDOW_SCALE = "The step of the scale that was measured over windows of steps was taken."
    WINDOW_ENDED = (
        "A window of steps had ended: the batch was measured at the averaged parameters, and the step of the new scale "
        "was taken with its gradient there."
    )
    TAKEN_BACK = (
        "The first steps were far too long: they were taken back, and the run begins again where it began, with shorter"
        " ones."
    )
    ZERO_GRADIENT = "No parameter has a gradient other than zero: nothing was changed."
    ZERO_DIRECTION = "The direction has length zero: nothing was changed."
    ZERO_LR = "Every parameter group has lr=0: the parameters were left where they were."
    NON_FINITE_LOSS = "The loss is not finite: the step was skipped and nothing was changed."
    NON_FINITE_GRADIENT = "The gradient's norm is not finite: the step was skipped and nothing was changed."
    NON_FINITE_CURVATURE = (
        "The slope or the curvature along the direction is not finite: the step was skipped and nothing was changed."
    )
    NON_FINITE_STEP = (
        "The step that the rule asked for is not finite, or larger than the parameters' dtype can hold: it was skipped "
        "and nothing was changed."
    )

    __hash__ = object.__hash__  # a member is one object; Enum's own is a call of Python for every look into a set

    @property
    def moved(self) -> bool:
        """Whether the parameters were updated."""
        return self in _MOVED


#: Outcomes of a step as long as it may be.
LONGEST = frozenset({Outcome.CLAMPED, Outcome.FLAT_CURVATURE})
#: Outcomes of a step that could not be taken because something is not finite.
NON_FINITE = frozenset(
    {
        Outcome.NON_FINITE_LOSS,
        Outcome.NON_FINITE_GRADIENT,
        Outcome.NON_FINITE_CURVATURE,
        Outcome.NON_FINITE_STEP,
    }
)
_MOVED = frozenset(
    {
        Outcome.TAKEN,
        Outcome.ABSOLUTE_SLOPE,
        Outcome.CLAMPED,
        Outcome.CURVATURE_HELD,
        Outcome.UNDER_CEILING,
        Outcome.KEPT,
        Outcome.LIMITED,
        Outcome.OPENS_DOWN,
        Outcome.OUT_OF_BAND,
        Outcome.GUARDED,
        Outcome.CAPPED,
        Outcome.AT_LOWER_BOUND,
        Outcome.FLAT_CURVATURE,
        Outcome.WINDOW_SCALE,
        Outcome.WINDOW_ENDED,
        Outcome.TAKEN_BACK,
    }
)


@dataclass(frozen=True)
class StepRecord:
    """The numbers of one call of ``step``; None where the step ended before a measurement.

    Attributes:
        loss: J(θ) before the step, the L2 term included; of the recorded batch. None where the step read no loss: it is
            then in the caller's hands alone, as the tensor that ``backward`` was called on.
        slope: ⟨∇J, d⟩.
        curvature: dᵀ∇²J d.
        absolute_curvature: mean over the samples of |dᵀ∇²J_s d|.
        lipschitz: L̃, the rule's estimate of the curvature per unit length of d.
        rescaling: r.
        ell: ℓ, the largest ``lr`` among the parameter groups.
        step_size: τ = ℓ r, so that θ ← θ − τ d; 0 where no step was taken.
        direction_norm: ‖d‖, groups with a smaller ``lr`` scaled by their share of ℓ.
        outcome: how the step ended.
        step: how many times the optimizer's state has been advanced, this call included; a skipped step does not count.
    """

    loss: float | None
    slope: float | None
    curvature: float | None
    absolute_curvature: float | None
    lipschitz: float | None
    rescaling: float | None
    ell: float
    step_size: float
    direction_norm: float | None
    outcome: Outcome
    step: int

    def scalars(self, prefix: str = "curvestep/") -> dict[str, float]:
        """Return what there is of the numbers as floats, for a logger.

        They are on the host already: nothing is computed and no device is waited for.

        Args:
            prefix: Put before each name: ``loss``, ``slope``, ``curvature``, ``absolute_curvature``, ``lipschitz``,
                ``rescaling``, ``ell``, ``step_size``, ``direction_norm`` and ``moved``.

        Returns:
            Prefixed names and numbers; a number that is None is left out, and ``moved`` is 1 where the parameters were
            updated, else 0.

        Example:
            >>> import torch, curvestep
            >>> theta = torch.zeros(1, requires_grad=True)
            >>> optimizer = curvestep.RescaledSGD([theta], lr=0.5)
            >>> with optimizer.record():
            ...     (0.5 * (theta - torch.tensor([1.0, 2.0, 6.0])) ** 2).mean().backward()
            >>> _ = optimizer.step()
            >>> scalars = optimizer.last_step.scalars()
            >>> scalars["curvestep/step_size"], scalars["curvestep/moved"]
            (1.0, 1.0)
        """
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        del numbers["outcome"], numbers["step"]
        found = {f"{prefix}{name}": float(value) for name, value in numbers.items() if value is not None}
        return {**found, f"{prefix}moved": float(self.outcome.moved)}
