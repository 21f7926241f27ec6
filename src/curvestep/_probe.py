"""What was measured along the direction of one step, and the names of the measurements a step rule can ask for."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Need(enum.Enum):
    """A measurement that a step rule declares it needs; the optimizer measures the union of needs and nothing more."""

    LOSS = "the value of the loss"
    SLOPE = "the slope of the loss along the direction"
    CURVATURE = "the curvature of the loss along the direction"
    LINE = "losses further along the direction, or along the last step"
    LAST_STEP = "the last step, kept to be measured along"
    PARAMETER_NORM = "the norm of the parameters that move"
    WEIGHT_SIZE = "the typical size of the weights that move"
    ABSOLUTE_CURVATURE = "the mean over the batch of the absolute curvature of each sample's loss along the direction"

    __hash__ = object.__hash__  # a member is one object; Enum's own is a call of Python for every look into a set


@dataclass(frozen=True)
class LineSample:
    """J(θ − t d) on the recorded batch, with the random numbers of the recording and the L2 term.

    Where the rule asked along the last step u, so that θ + u is where it began, it is J(θ − t u).

    Attributes:
        step: t.
        loss: the value there; it need not be finite.
    """

    step: float
    loss: float


@dataclass(frozen=True)
class Probe:
    """Measurements of one mini-batch at θ along d, as floats on the host.

    J is the mean over the batch of the samples' losses J_s, and each J_s contains the L2 term λ/2 ‖θ‖² where the
    optimizer has one. The step that follows is θ ← θ − τ d. Norms run over all parameters that move.

    Attributes:
        loss: J(θ).
        slope: ⟨∇J(θ), d⟩; positive where −d is a direction of descent.
        curvature: dᵀ∇²J(θ) d, or None where no rule asked for it.
        absolute_curvature: mean over the samples s of |dᵀ∇²J_s(θ) d|, or None where no rule asked for it.
        direction_norm_sq: ‖d‖².
        parameter_norm_sq: ‖θ‖², or NaN where no rule asked for it.
        gradient_norm_sq: ‖∇J(θ)‖², over all parameters with a gradient.
        line: what was measured further along the line, in the order in which the rule asked for it.
        resolution: relative rounding of the losses: the distance of 1 to the next number in the coarsest dtype among
            the loss's and the parameters'. Losses that differ by less are the same.
        weight_size: the geometric mean of the root mean squares of the tensors with two dimensions or more and an entry
            other than 0; 0 where there is none, NaN where no rule asked for it.
    """

    loss: float
    slope: float
    curvature: float | None
    absolute_curvature: float | None
    direction_norm_sq: float
    parameter_norm_sq: float
    gradient_norm_sq: float = math.nan
    line: tuple[LineSample, ...] = ()
    resolution: float = 2.0**-52
    weight_size: float = math.nan
