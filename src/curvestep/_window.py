"""What one fresh batch says, at the averaged parameters, of a whole window of steps."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, fields
from typing import final


@final
class WindowNeed(enum.Enum):
    """A measurement of a window that costs a pass or a forward of its own, and that a rule may ask for."""

    SLOPE = "the slope along the displacement and its standard error, from the slopes of the samples"
    CURVATURE = "the curvature along the displacement, in all and of each sample, and the slope"
    ITERATE_LOSS = "the loss at the iterate"


@dataclass(frozen=True)
class WindowReading:
    """Measurements of one batch at the averaged parameters x̄, at the end of a window of steps, as floats on the host.

    x̄' is the average at the beginning of the window and z the iterate at its end, so that D = x̄ − x̄' is the
    displacement of the average over the window and E = z − x̄ the way from it to the iterate. J is the mean over the
    batch of the samples' losses J_s, each of which contains the L2 term λ/2 ‖θ‖² where the optimizer has one. The batch
    is the next one after the window's steps. Lengths run over all parameters that have moved.

    | symbol | name |
    |---|---|
    | σ, κ | `slope`, `curvature` |
    | α | `further` |
    | N | `noise` |
    | p | `progress` |

    Attributes:
        step: k, how many steps were taken before the measurement.
        start: k', how many there were at the beginning of the window; 0 for the first.
        loss: J(x̄).
        loss_before: J(x̄').
        loss_at_iterate: J(z); None where the rule did not ask for it, as all that is not J(x̄), J(x̄')
            or along E may be.
        slope: σ = ⟨∇J(x̄), D⟩; negative where the loss still falls along the displacement.
        slope_error: √(Σ_s (σ_s − σ)² / (B (B − 1))) over the B samples, σ_s = ⟨∇J_s(x̄), D⟩: the standard error of σ as
            an estimate of the slope over all data; None where the recording shows no samples.
        slope_spread: √Σ_i D_i² (ṽ_i − m_i²) from the averages of a direction that keeps both, an estimate of the same
            that takes the entries of the gradient for independent; None where it does not keep them.
        curvature: κ = Dᵀ∇²J(x̄) D.
        absolute_curvature: mean over the samples of |Dᵀ∇²J_s(x̄) D|.
        iterate_slope: ⟨∇J(x̄), E⟩.
        iterate_curvature: Eᵀ∇²J(x̄) E.
        displacement_norm_sq: ‖D‖².
        iterate_norm_sq: ‖E‖².
        resolution: relative rounding of the losses, that of the coarsest dtype that they went through.

    Example:
        On J = ½ θ² the average went from 3 to 2 between the steps 10 and 20, and the iterate is at 2.5. The minimum
        lies two displacements further on.

        >>> from curvestep.steprules import WindowReading
        >>> reading = WindowReading(20, 10, 2.0, 4.5, 3.125, -2.0, 0.0, None, 1.0, 1.0, 1.0, 0.25, 1.0, 0.25)
        >>> reading.further, reading.noise, round(reading.progress, 3)
        (2.0, 0.125, 3.607)
    """

    step: int
    start: int
    loss: float
    loss_before: float
    loss_at_iterate: float | None
    slope: float | None
    slope_error: float | None
    slope_spread: float | None
    curvature: float | None
    absolute_curvature: float | None
    iterate_slope: float
    iterate_curvature: float
    displacement_norm_sq: float
    iterate_norm_sq: float
    resolution: float = 2.0**-52

    @property
    def further(self) -> float | None:
        """α = −σ / |κ|: how much further the minimum of the parabola along D lies, in units of D.

        None where κ is 0, too small to divide by, or not measured.
        """
        if self.slope is None or not self.curvature:
            return None
        found = -self.slope / abs(self.curvature)
        return found if math.isfinite(found) else None

    @property
    def error(self) -> float:
        """The larger of the two estimates of σ's standard error; 0 where there is none."""
        return max(self.slope_error or 0.0, self.slope_spread or 0.0)

    @property
    def noise(self) -> float:
        """N = ½ Eᵀ∇²J(x̄) E: how much higher than the average the iterate lies for the loss's curvature."""
        return 0.5 * self.iterate_curvature

    @property
    def gap(self) -> float | None:
        """J(z) − J(x̄) − ⟨∇J(x̄), E⟩: N where J is a parabola along E, and what kinks add; None without J(z)."""
        return None if self.loss_at_iterate is None else self.loss_at_iterate - self.loss - self.iterate_slope

    @property
    def folds(self) -> float:
        """ln(k / max(k', 1)): by how many factors of e the run has grown over the window; 0 for windows without."""
        return math.log(max(self.step, 1) / max(self.start, 1))

    @property
    def progress(self) -> float:
        """p = (J(x̄') − J(x̄)) / ln(k / max(k', 1)): what the average has won, per factor of e in the run's length."""
        return (self.loss_before - self.loss) / self.folds if self.folds > 0.0 else 0.0

    @property
    def progress_error(self) -> float:
        """The standard error of p, that of the slope along the same displacement."""
        return self.error / self.folds if self.folds > 0.0 else 0.0

    @property
    def is_finite(self) -> bool:
        """Whether every number is."""
        return all([math.isfinite(getattr(self, field.name) or 0.0) for field in fields(self)])
