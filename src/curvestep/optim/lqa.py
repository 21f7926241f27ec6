"""Local quadratic approximation: the step to the minimum of a parabola through three losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction, Gradient, HeavyBall
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._options import pair_of
from curvestep.steprules import Batch, LocalQuadratic, StepRule

#: What is stepped along.
Kind = Literal["gradient", "heavy_ball", "adam"]


@final
class LQA(AbstractComposedOptimizer):
    """LQA: the loss is measured a little ahead and a little behind, and the parabola's minimum is where ℓ = ½ goes.

    θ ← θ − τ d, J(θ) = mean_s loss_s(θ) + λ/2 ‖θ‖² over the mini-batch, and with J± = J(θ ± δ₀ d), J₀ = J(θ),

        τ = ℓ r,    r = 2 δ⋆,    δ⋆ = (δ₀/2) (J₊ − J₋) / (J₊ + J₋ − 2 J₀).

    δ₀ follows the steps, and what happens where the parabola has no minimum ahead or asks for too much is listed in
    `curvestep.steprules.LocalQuadratic`. The direction d is the gradient, its bias-corrected average, or Adam's.

    | symbol | name | meaning |
    |---|---|---|
    | ℓ | `lr` | ½: to the minimum of the parabola; 1: to its far side |
    | δ₀ | `probe` | distance of the probes in units of the last δ⋆ |
    | τ | `param_groups[i]["effective_lr"]`, `last_step.step_size` | what a learning rate usually is |
    | r | `last_step.rescaling` | |
    | λ | `weight_decay` | factor of λ/2 ‖θ‖², which is part of all three losses and the gradient |

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (averages
            and sums are float32 for 16-bit ones).
        lr: ℓ, without unit, at least 0. Groups with different ℓ share one r; a group with 0 is not moved.
        direction: "gradient", "heavy_ball" (its average, with `momentum`) or "adam" (with `betas` and `eps`).
        momentum: Decay of the average for "heavy_ball", in [0, 1).
        betas: Decays of the averages for "adam", each in [0, 1).
        eps: What keeps Adam's quotient finite, at least 0, in the unit of the gradient.
        probe: δ₀ in units of δ⋆, above 0.
        every: The parabola is measured on every `every`-th step; in between r stays.
        batch: "same", or "next": the parabola of a step is measured on the batch after it and sets the next r.
        smoothing: Weight of the former r in the new one, in [0, 1).
        change: Least and largest factor that one measurement may put on r, before the smoothing.
        initial_step: δ⋆ before anything was measured, in units of d; None: searched on the first batch. "next" needs
            it.
        weight_decay: λ, at least 0, in the unit of the curvature.
        decoupled_weight_decay: λ_dec, at least 0: θ ← (1 − τ λ_dec) θ in the same step, as in AdamW; never past zero.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A recording, and two forward passes on a step that measures (up to 32 on the first); the state of the direction,
        and with "next" one tensor a parameter more; two host synchronisations. No curvature is computed, so every
        operation that can be run again will do, ReLU included.

    Example:
        On ½ · 4 θ² any probe finds the minimum:

        >>> import torch, curvestep
        >>> theta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
        >>> optimizer = curvestep.LQA([theta], lr=0.5)
        >>> with optimizer.record():
        ...     (2.0 * theta * theta).sum().backward()
        >>> _ = optimizer.step()
        >>> round(theta.item(), 9) + 0.0, round(optimizer.last_step.step_size, 9)
        (0.0, 0.25)

    Source:
        Y. Zhu, D. Chen, Y. Huang, H. Zhang and H. Wang, "Automatic, dynamic, and nearly optimal learning rate
        specification by local quadratic approximation" (arXiv 2004.03260).

    Deviations:
        The source steps along the gradient only. Its probes are run in evaluation mode; here they see the masks of the
        recording and batch statistics of their own point. See `curvestep.steprules.LocalQuadratic` for the rest.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.5,
        *,
        direction: Kind = "gradient",
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        probe: float = 1.0,
        every: int = 1,
        batch: Batch = "same",
        smoothing: float = 0.0,
        change: tuple[float, float] = (0.01, 2.0),
        initial_step: float | None = None,
        weight_decay: float = 0.0,
        decoupled_weight_decay: float = 0.0,
    ) -> None:
        options = {
            "lr": lr,
            "direction": direction,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "probe": probe,
            "every": every,
            "batch": batch,
            "smoothing": smoothing,
            "change": change,
            "initial_step": initial_step,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return the direction that the group names."""
        kind = group["direction"]
        if kind not in get_args(Kind):
            msg = f"direction must be 'gradient', 'heavy_ball' or 'adam', but direction={kind!r} was given."
            raise ValueError(msg)
        beta1, beta2 = pair_of(group, "betas", "the decay rates (beta1, beta2)")
        choices: dict[Kind, Direction] = {
            "gradient": Gradient(),
            "heavy_ball": HeavyBall(group["momentum"]),
            "adam": Adam(beta1, beta2, group["eps"]),
        }
        return choices[kind]

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return the parabola's rule."""
        group = groups[0]
        return LocalQuadratic(
            probe=group["probe"],
            every=group["every"],
            batch=group["batch"],
            smoothing=group["smoothing"],
            change=group["change"],
            initial=group["initial_step"],
        )

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """What the parabola's rule is made of."""
        return ("probe", "every", "batch", "smoothing", "change", "initial_step")
