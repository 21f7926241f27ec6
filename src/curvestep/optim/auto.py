"""The library's recommendation: no learning rate, no horizon, nothing to choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction
from curvestep.optim._average import AVERAGING, WINDOW_GROWTH
from curvestep.optim._options import SAMPLES, check_number
from curvestep.optim._windowed import WINDOW_OFFSET, AbstractWindowedOptimizer
from curvestep.steprules import CurvatureRescaling, NoiseBalance, WindowRule, Windows

_LEVEL = 0.5
_ADAM = Adam(0.9, 0.98, 1e-8, nesterov=True)
_SHARE = 0.25
_GAMMA = 8.0
_GROWTH, _OFFSET = 1.3, 40


@final
class Auto(AbstractWindowedOptimizer):
    """One default for every model: Adam's direction, a scale measured over windows of steps, averaged weights.

    θ ← θ − s d with d = m̃ / (√ṽ + ε) of Adam with Nesterov's look ahead (β₁ = 0.9, β₂ = 0.98). Nothing in s has the
    unit of a learning rate:

    - s begins with the weights: s₀ is 0.07 of their typical size (the geometric mean of the tensors' root mean
      squares), held to between a thirtieth of and ten times the step to the minimum of the parabola along the first
      direction, |⟨d, g⟩| / (‖d‖² L) with L the mean of |dᵀ∇²J_s d| / ‖d‖² over a quarter of the samples s. Its course
      is a ramp over 20 steps, and a fall with k^-¼ after 100. Where s₀ is above six such steps, the first ones are a
      trial (`curvestep.steprules.Trial`): they are taken back where they were far too long, `Outcome.TAKEN_BACK`.
    - Windows of steps end at k ← ⌊1.3 k⌋ + 40. The next batch is then measured at the averaged weights x̄, and the step
      is taken with its gradient there: N = ½ Eᵀ∇²J(x̄)E with E = θ − x̄ says how much loss the noise of the iterate
      costs, and p = (J(x̄') − J(x̄)) / ln(k/k') what the average has won since the window began at x̄' and k'.
      s moves towards N = 0.015 √k p (`curvestep.steprules.NoiseBalance`): steps as long as the noise of the loss and
      its curvature allow.

    It needs no schedule: the weights to evaluate and to save are, at any time, the averaged ones,
    x̄_k = (1 − w) x̄ + w θ_k with w = 9 / (k + 8):

        with optimizer.averaged():
            curvestep.nn.refresh_batch_norm(model, batches)  # only for models with batch normalisation
            evaluate(model)
        torch.save(optimizer.averaged_state_dict(model), path)

    | symbol | name | meaning |
    |---|---|---|
    | s | `param_groups[i]["effective_lr"]`, `last_step.step_size` | what a learning rate usually is |
    | x̄ | `averaged()`, `averaged_state_dict(model)` | |
    | x̄' | `state[p]["window_start"]` | the average at the beginning of the window |
    | N, p | `last_window.noise`, `last_window.progress` | the last window's `curvestep.steprules.WindowReading` |
    | ℓ | `param_groups[i]["lr"]` | ½ for steps of s; schedulers scale the step by ℓ / ½ |

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
        Nothing is recorded but the first step and the ends of the windows: of the first 100 calls of `step` 2, of the
        first 1,000 it is 8, of the first 10,000 it is 16. Each of these costs a recording, which holds nothing, a
        Taylor pass and two forwards besides. Four tensors of state a parameter, sixteen bytes for a
        float32; while the step is taken one tensor a parameter more, or three where the parameters are not on the CPU.

    Example:
        Weights of size 2: s₀ is 0.14, the ramp's first step a twentieth of it.

        >>> import torch, curvestep
        >>> x, theta = torch.tensor([1.0, 2.0, 6.0]), torch.full((1, 1), 2.0, requires_grad=True)
        >>> optimizer = curvestep.Auto([theta])
        >>> with optimizer.record():
        ...     loss = (0.5 * (theta[0] - x) ** 2).mean()
        ...     loss.backward()
        >>> _ = optimizer.step()
        >>> round(theta.item() - 2.0, 5), optimizer.last_step.outcome.name
        (0.007, 'WINDOW_SCALE')

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022, for the curvature along a direction; M. Ivgi, O. Hinder and Y. Carmon, arXiv 2302.12022,
        section 4.1, for the polynomial-decay average; T. Dozat, "Incorporating Nesterov Momentum into Adam" (2016), for
        the direction (`curvestep.directions.Adam`); windows and balance are ours, docs/long.md has the derivation.

    Deviations:
        From the source's advice: the curvature is taken along the way from the average to the iterate in place of the
        direction of each step; momentum, and averaged weights instead of a decay.
    """

    _announces_whole_batch = False

    def __init__(
        self, params: ParamsT, lr: None = None, *, weight_decay: float = 0.0, decoupled_weight_decay: float = 0.0
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
            AVERAGING: _GAMMA,
            WINDOW_GROWTH: _GROWTH,
            WINDOW_OFFSET: _OFFSET,
        }
        super().__init__(_relative(params), options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return Adam."""
        del group
        return _ADAM

    def _rule(self, groups: Sequence[dict[str, Any]]) -> WindowRule:
        """Return the balance, begun with Algorithm 1 and the absolute slope."""
        windows = Windows(groups[0][WINDOW_GROWTH], groups[0][WINDOW_OFFSET])
        return NoiseBalance(CurvatureRescaling(slope="absolute"), level=_LEVEL, windows=windows)

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """The options that are the same in all groups."""
        return (SAMPLES, AVERAGING, WINDOW_GROWTH, WINDOW_OFFSET)


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
