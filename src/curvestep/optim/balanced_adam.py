"""Adam whose scale is measured over windows of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor
from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction
from curvestep.directions._base import SECOND_MOMENT
from curvestep.optim._average import AVERAGING, WINDOW_GROWTH
from curvestep.optim._options import BETA3, EVERY, SAMPLES, pair_of
from curvestep.optim._windowed import AbstractWindowedOptimizer
from curvestep.steprules import CurvatureRescaling, Lazy, NoiseBalance, WindowRule, Windows

#: Name in every parameter group of the least length of a window.
WINDOW_OFFSET = "window_offset"
# The numbers with which the rule was first tried; none has a unit.
_LEVEL = 0.5
_EVERY, _SHARE, _BETA3 = 16, 0.25, 0.8


@final
class BalancedAdam(AbstractWindowedOptimizer):
    """Adam without a learning rate: the scale of its steps is measured over windows of steps, at the averaged weights.

    θ ← θ − τ d with d = m̃ / (√ṽ + ε) of Adam and

        τ = (ℓ / ½) · min(s, b),

    where b is the smoothed step to the minimum of the measured parabola along d, and s the scale of the run: at the end
    of a window, k ← ⌊1.25 k⌋ + 5, the next batch is measured at the averaged weights x̄ and no step is taken with it;
    s grows or shrinks so that the noise of the iterate, N = ½ Eᵀ∇²J(x̄)E with E = θ − x̄, stays in balance with the
    progress of the average, N = 0.015 √k (J(x̄') − J(x̄)) / ln(k/k') (`curvestep.steprules.NoiseBalance`).

    | symbol | name | meaning |
    |---|---|---|
    | ℓ | `lr` | ½; a schedule scales every step by ℓ / ½ |
    | s | `param_groups[i]["rule_state"]["balance_scale"]` | the scale |
    | x̄ | `averaged()`, `averaged_state_dict(model)` | the weights to evaluate and to save |
    | x̄' | `state[p]["window_start"]` | the average at the beginning of the window |
    | | `last_window` | the `curvestep.steprules.WindowReading` of the last window; None before |
    | τ | `param_groups[i]["effective_lr"]`, `last_step.step_size` | what a learning rate usually is |

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (averages
            and sums are float32 for 16-bit ones).
        lr: ℓ, without unit, at least 0. Groups with different ℓ share one r.
        betas: β₁ and β₂, each in [0, 1).
        eps: ε, at least 0, in the unit of the gradient.
        target: N / (p √k) in balance, without unit, above 0.
        bounded: Whether b bounds every step; False: it is measured at the first step alone, for s₀ = b / 10.
        weight_decay: λ, at least 0, in the unit of the curvature: the factor of λ/2 ‖θ‖², which is part of the loss.
        decoupled_weight_decay: λ_dec, at least 0: θ ← (1 − τ λ_dec) θ in the same step, as in AdamW.
        averaging: γ, at least 0, of the averaged weights.
        window_growth: The factor from one window's end to the next, at least 1.
        window_offset: The number of steps that is added to it, at least 1.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        Four tensors of state a parameter: two averages of Adam, the average of the weights and the one at the beginning
        of the window. Steps as with `Auto`. A window's end costs one batch with which no step is taken, a recording,
        two tangent passes and two forwards (docs/long.md); on other steps nothing of it.

    Example:
        Five steps, and then a batch for the measurement:

        >>> import torch, curvestep
        >>> x, theta = torch.tensor([[1.0], [2.0], [6.0], [7.0]]), torch.zeros(1, requires_grad=True)
        >>> optimizer = curvestep.BalancedAdam([theta])
        >>> for _ in range(6):
        ...     with optimizer.record():
        ...         loss = (0.5 * (theta - x) ** 2).mean()
        ...         loss.backward()
        ...     _ = optimizer.step()
        ...     optimizer.zero_grad()
        >>> optimizer.last_step.outcome.name, optimizer.last_window.step, optimizer.last_window.slope < 0.0
        ('WINDOW_ENDED', 5, True)

    Source:
        None; docs/long.md has the derivation and the relation to other methods.
    """

    _announces_whole_batch = False

    def __init__(
        self,
        params: ParamsT,
        lr: float = _LEVEL,
        betas: tuple[float, float] = (0.9, 0.99),
        *,
        eps: float = 1e-8,
        target: float = 0.015,
        bounded: bool = True,
        weight_decay: float = 0.0,
        decoupled_weight_decay: float = 0.0,
        averaging: float = 8.0,
        window_growth: float = 1.25,
        window_offset: int = 5,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "target": target,
            "bounded": bounded,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            SAMPLES: _SHARE,
            EVERY: _EVERY,
            BETA3: _BETA3,
            AVERAGING: averaging,
            WINDOW_GROWTH: window_growth,
            WINDOW_OFFSET: window_offset,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return Adam with the group's β₁, β₂ and ε."""
        return self._adam(group)

    @staticmethod
    def _adam(group: dict[str, Any]) -> Adam:
        beta1, beta2 = pair_of(group, "betas", "the decay rates (beta1, beta2)")
        return Adam(beta1, beta2, group["eps"])

    def _rule(self, groups: Sequence[dict[str, Any]]) -> WindowRule:
        """Return the balance around Algorithm 1 with the absolute slope, measured now and then."""
        group = groups[0]
        bound = Lazy(CurvatureRescaling(group[BETA3], slope="absolute"), group[EVERY])
        windows = Windows(group[WINDOW_GROWTH], group[WINDOW_OFFSET])
        return NoiseBalance(bound, group["target"], level=_LEVEL, bounded=group["bounded"], windows=windows)

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """The options that are the same in all groups."""
        return (SAMPLES, EVERY, BETA3, AVERAGING, "target", "bounded", WINDOW_GROWTH, WINDOW_OFFSET)

    def _gradient_variances(self, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        """Return those of Adam's averages."""
        adam_of = {p: self._adam(group) for group in self.param_groups for p in group["params"]}
        return [
            adam_of[p].variances([self.state[p]])[0] if SECOND_MOMENT in self.state[p] else None for p in parameters
        ]
