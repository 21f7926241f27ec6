"""Gradient descent whose step is measured from the curvature of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch.optim.optimizer import ParamsT

from curvestep.directions import Direction, Gradient, HeavyBall
from curvestep.engine import Order, Precision
from curvestep.optim._rescaled import AbstractRescaledOptimizer
from curvestep.steprules import Slope


@final
class RescaledSGD(AbstractRescaledOptimizer):
    """SGD with curvature rescaling: ``lr`` is a level ℓ that needs no tuning, not a learning rate.

    θ ← θ − τ d with d = g = ∇J(θ), J(θ) = mean_s loss_s(θ) + λ/2 ‖θ‖² over the mini-batch, and

        τ = ℓ r,    r = 2 ⟨d, g⟩ / (‖d‖² L̃),    L̃ = max(c̃, c),    c = mean_s |dᵀ∇²J_s d| / ‖d‖²,

    where c̃ is the bias-corrected moving average of c with decay β₃ (`curvestep.steprules.CurvatureRescaling`).

    | symbol | name | meaning |
    |---|---|---|
    | ℓ | `lr` | ½: to the minimum of the measured parabola (converge); 1: to its far side (explore); above: uphill |
    | β | `momentum` | decay of the averaged gradient; 0: the gradient itself |
    | β₃ | `beta3` | decay of the averaged curvature |
    | λ | `weight_decay` | factor of λ/2 ‖θ‖², which is part of the loss, the gradient and the curvature |
    | τ | `param_groups[i]["effective_lr"]`, `last_step.step_size` | what a learning rate usually is |
    | r, L̃ | `last_step.rescaling`, `last_step.lipschitz` | |

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (averages
            and sums are float32 for 16-bit ones).
        lr: ℓ, without unit, at least 0. Groups with different ℓ share one r; a group with 0 is not moved.
        momentum: β in [0, 1). Above 0, d is the bias-corrected average of g, which may ascend: see `slope`.
        beta3: β₃ in [0, 1).
        slope: What becomes of a direction of ascent: "absolute", "signed" (no step) or "smoothed" (the slope is
            averaged over the steps with its sign, and where the average is negative there is no step). Read
            only with momentum.
        weight_decay: λ, at least 0, in the unit of the curvature.
        decoupled_weight_decay: λ_dec, at least 0: θ ← (1 − τ λ_dec) θ in the same step, as in AdamW; never past zero.
        max_relative_step: Longest step ‖τ d‖ in units of max(‖θ₀‖, 1), above 0, θ₀ the parameters at
            the first step. It bounds the step where the curvature vanishes.
        floor: Least value of L̃, in the unit of the curvature, at least 0; λ is its natural value.
        band: The (α, β, δ) of α ≤ τ k^δ ≤ β with ½ < δ < 1, in the unit of a learning rate, or None for no band.
        guard_every: On every so many steps the loss at the end of the step is measured, and the step is shortened until
            that loss is below the bound that L̃ gives (`curvestep.steprules.Guard`). 0: never.
        curvature_kind: "exact", or "ggn" for the generalised Gauss-Newton form: the curvature of the loss alone, along
            the first derivative of the network; never negative for convex losses, and one product a layer cheaper.
        curvature_samples: On how many samples of the batch the curvature is measured: a number, a share in (0, 1], or
            None for all.
        curvature_every: Longest number of steps from one measurement to the next, reached after ten times as many steps
            (`curvestep.steprules.Lazy`); above 1 only with a short `max_relative_step`.
        curvature_precision: The dtypes in which it is measured: "recorded", "float32" (where the forward ran in 16
            bits), "bfloat16", "tf32" or "float64", see `curvestep.Tape.curvature`.
        averaging: γ, at least 0, of the averaged weights that `averaged()` gives; None for no averages.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A recording and one tangent pass a step (docs/overhead.md has the measured ratios); no state, or one tensor a
        parameter with momentum; one tensor a parameter while the step is taken; one host synchronisation.
        A guarded step costs one more forward pass and host synchronisation, and as many again as it is shortened.

    Example:
        ½ mean_s (θ − x_s)² at ℓ = ½ is minimised in one step, at the mean of the batch:

        >>> import torch, curvestep
        >>> x, theta = torch.tensor([1.0, 2.0, 6.0]), torch.zeros(1, requires_grad=True)
        >>> optimizer = curvestep.RescaledSGD([theta], lr=0.5)
        >>> with optimizer.record():
        ...     loss = (0.5 * (theta - x) ** 2).mean()
        ...     loss.backward()
        >>> _ = optimizer.step()
        >>> theta.item(), optimizer.last_step.step_size
        (3.0, 1.0)

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022: Algorithms 1 and 3; momentum: Algorithm 4 and "Step choice" in Appendix C.1.

    Deviations:
        The constant 2 in r and the cap on the step: see `curvestep.steprules.CurvatureRescaling`. The decay of ℓ is not
        part of the optimizer: see `curvestep.schedules.red`.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        *,
        momentum: float = 0.0,
        beta3: float = 0.9,
        slope: Slope = "absolute",
        weight_decay: float = 0.0,
        decoupled_weight_decay: float = 0.0,
        max_relative_step: float = 10.0,
        floor: float = 0.0,
        band: tuple[float, float, float] | None = None,
        guard_every: int = 0,
        curvature_kind: Order = "exact",
        curvature_samples: float | None = None,
        curvature_every: int = 1,
        curvature_precision: Precision = "recorded",
        averaging: float | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "beta3": beta3,
            "slope": slope,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "max_relative_step": max_relative_step,
            "floor": floor,
            "band": band,
            "guard_every": guard_every,
            "curvature_kind": curvature_kind,
            "curvature_samples": curvature_samples,
            "curvature_every": curvature_every,
            "curvature_precision": curvature_precision,
            "averaging": averaging,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return the gradient, or its average where the group has momentum."""
        return Gradient() if group["momentum"] == 0.0 else HeavyBall(group["momentum"])

    def _slope_of(self, groups: Sequence[dict[str, Any]]) -> Slope:
        """Return "signed" unless a group has momentum: ⟨g, g⟩ cannot be negative."""
        signed = all(group.get("momentum", 0.0) == 0.0 for group in groups)
        return "signed" if signed else super()._slope_of(groups)
