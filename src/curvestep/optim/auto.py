"""The library's recommendation: no learning rate, no horizon, nothing to choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction
from curvestep.optim._average import AVERAGING
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._options import BETA3, EVERY, SAMPLES, check_number
from curvestep.steprules import Ceiling, CurvatureRescaling, Lazy, StepRule

# Chosen on five of the problems of docs/auto.md, before the others were run.
_LEVEL = 0.5
_ADAM = Adam(0.9, 0.99, 1e-8)
_EVERY, _SHARE, _BETA3 = 16, 0.25, 0.8
_PEAK, _WARMUP = 0.006, 100
_GAMMA = 8.0


@final
class Auto(AbstractComposedOptimizer):
    """One default for every model: Adam's direction, a measured step, averaged weights; nothing to choose.

    θ ← θ − τ d with d = m̃ / (√ṽ + ε) of Adam (β₁ = 0.9, β₂ = 0.99). The step τ is the shortest of two:

    - to the minimum of the parabola along d, τ ≤ ½ · 2 |⟨d, g⟩| / (‖d‖² L̃), L̃ the smoothed mean of |dᵀ∇²J_s d| / ‖d‖²
      over a quarter of the samples s, on all of the first ten steps and then ever fewer, at last on every sixteenth
      (`curvestep.steprules.CurvatureRescaling`, `Lazy`);
    - a ceiling, τ ≤ 0.006 min(k/100, √(100/k)) at step k (`curvestep.steprules.Ceiling`): where the slope is noise of
      the batch, a measured step would be too long. It is a guess that Adam's direction allows, because its entries are
      of order one, and it does not depend on the length of the run.

    It needs no schedule: the weights to evaluate and to save are, at any time, the averaged ones,
    x̄_k = (1 − w) x̄ + w θ_k with w = 9 / (k + 8):

        with optimizer.averaged():
            curvestep.nn.refresh_batch_norm(model, batches)  # only for models with batch normalisation
            evaluate(model)
        torch.save(optimizer.averaged_state_dict(model), path)

    | symbol | name | meaning |
    |---|---|---|
    | τ | `param_groups[i]["effective_lr"]`, `last_step.step_size` | what a learning rate usually is |
    | L̃ | `last_step.lipschitz` | |
    | x̄ | `averaged()`, `averaged_state_dict(model)` | |
    | ℓ | `param_groups[i]["lr"]` | ½ for the longest steps; schedulers scale the step by it |

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (averages
            and sums are float32 for 16-bit ones). Where groups have an `lr`, only its ratio between the groups counts:
            with 1e-4 and 1e-3 the steps of the first are a tenth of those of the second.
        lr: Not an option of Auto, and refused: the step is measured.
        weight_decay: λ, at least 0, in the unit of the curvature: the factor of λ/2 ‖θ‖², which is part of the loss.
        decoupled_weight_decay: λ_dec, at least 0: θ ← (1 − τ λ_dec) θ in the same step, as in AdamW.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        On one step of sixteen a recording that holds nothing and a Taylor pass over a quarter of the batch, which
        computes the forward of these samples again; on the others nothing is recorded: docs/overhead.md has the
        measured ratio. Three tensors of state a parameter; while the step is taken one tensor a parameter, or three
        where it is measured or the parameters are not on the CPU.

    Example:
        The first step is the shorter of the two. ½ mean_s (θ − x_s)² from θ = 2 has its minimum at 3, a step of 1
        away; the ceiling is 0.006 / 100.

        >>> import torch, curvestep
        >>> x, theta = torch.tensor([1.0, 2.0, 6.0]), torch.full((1,), 2.0, requires_grad=True)
        >>> optimizer = curvestep.Auto([theta])
        >>> with optimizer.record():
        ...     loss = (0.5 * (theta - x) ** 2).mean()
        ...     loss.backward()
        >>> _ = optimizer.step()
        >>> round(theta.item() - 2.0, 5), optimizer.last_step.outcome.name
        (6e-05, 'UNDER_CEILING')

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022, for the measured step; M. Ivgi, O. Hinder and Y. Carmon, arXiv 2302.12022, section 4.1, for the
        polynomial-decay average; the composition is ours.

    Deviations:
        From the source's advice: momentum, a constant ℓ = ½, averaged weights instead of a decay, a ceiling.
    """

    _announces_whole_batch = False
    _memory = "split"  # few steps are measured, so its time matters little and its peak of memory does

    def __init__(
        self,
        params: ParamsT,
        lr: None = None,
        *,
        weight_decay: float = 0.0,
        decoupled_weight_decay: float = 0.0,
    ) -> None:
        if lr is not None:
            msg = (
                f"Auto measures its step and has no learning rate, but lr={lr!r} was given: leave it out. To move some "
                "parameters less than others give their groups an 'lr', of which only the ratio counts; to choose a "
                "level yourself use RescaledAdam."
            )
            raise ValueError(msg)
        options = {
            "lr": _LEVEL,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            SAMPLES: _SHARE,
            EVERY: _EVERY,
            BETA3: _BETA3,
            AVERAGING: _GAMMA,
        }
        super().__init__(_relative(params), options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return Adam."""
        del group
        return _ADAM

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return Algorithm 1 with the absolute slope, measured now and then, under the ceiling."""
        # No cap besides the ceiling, which bounds every entry of the step.
        measured = CurvatureRescaling(groups[0][BETA3], slope="absolute", max_relative_step=math.inf)
        return Ceiling(Lazy(measured, groups[0][EVERY]), _PEAK, _WARMUP, level=_LEVEL)

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """The options that are the same in all groups."""
        return (SAMPLES, EVERY, BETA3, AVERAGING)


def _relative(params: Any) -> Any:
    """Return the parameters, where groups have an ``lr`` with it as a share of the largest one times ½."""
    groups = list(params)
    if not any(isinstance(group, dict) and "lr" in group for group in groups):
        return groups
    for group in groups:
        check_number(group, "lr", "the share of the step that a group takes")
    top = max(float(group["lr"]) for group in groups if "lr" in group)
    if top == 0.0:
        return groups
    return [{**group, "lr": _LEVEL * float(group.get("lr", top)) / top} for group in groups]
