"""GeN: AdamW whose learning rate is corrected now and then by the parabola of the loss along its step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._options import pair_of
from curvestep.steprules import Batch, LocalQuadratic, StepRule


@final
class GeN(AbstractComposedOptimizer):
    """The generalised Newton method around AdamW: its rate follows the minimum of a parabola, measured now and then.

    θ ← (1 − η λ) θ − η d with d the direction of Adam. On every `every`-th step, with J± = J(θ ± η d), J₀ = J(θ),

        η⋆ = (η/2) (J₊ − J₋) / (J₊ + J₋ − 2 J₀),    η ← 0.9 η + 0.1 clip(η⋆, [η/2, 2 η]),

    if the parabola has a minimum ahead; otherwise η stays.

    | symbol | name | meaning |
    |---|---|---|
    | η at first | `initial_step` | learning rate before anything was measured |
    | η | `param_groups[i]["effective_lr"]`, `last_step.step_size` | learning rate of the last step, for ℓ = ½ |
    | ℓ | `lr` | ½: η as above; a schedule that lowers it scales the steps, as in the other optimizers |
    | λ | `decoupled_weight_decay` | |

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (averages
            and sums are float32 for 16-bit ones).
        lr: ℓ, without unit, at least 0.
        initial_step: η of the first steps, above 0.
        betas: Decays of Adam's averages, each in [0, 1).
        eps: What keeps Adam's quotient finite, at least 0, in the unit of the gradient.
        every: The parabola is measured on every `every`-th step; in between η stays.
        batch: "same": the parabola along this step, on its batch; "next": the parabola along the last step, on this
            batch, from which the gradient of that step was not computed.
        decoupled_weight_decay: λ, at least 0.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        That of AdamW with a recording, and two forward passes on every `every`-th step; with "next" one tensor a
        parameter more.

    Example:
        At the first step d = 1 and J± = ½ (3 ± 0.1)²: η⋆ = 3, held to 2 η, and η goes a tenth of the way to it.

        >>> import torch, curvestep
        >>> theta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
        >>> optimizer = curvestep.GeN([theta], initial_step=0.1, decoupled_weight_decay=0.0, batch="same")
        >>> with optimizer.record():
        ...     (0.5 * theta * theta).sum().backward()
        >>> _ = optimizer.step()
        >>> round(optimizer.last_step.step_size, 9)
        0.11

    Source:
        Z. Bu and S. Xu, "Automatic gradient descent with generalized Newton's method", ICLR 2025 (arXiv 2407.02772),
        and the constants of the package released with it.

    Deviations:
        - The fresh batch is the run's next one, one step later, in place of batches drawn for the purpose; with "same"
          none is used. The averages of Adam advance once a step, and buffers and random numbers are left alone.
        - The line along which the loss is measured does not contain the weight decay.
        - A scale that falls over the run multiplies the step (ℓ), where the released code multiplies only the new
          tenth by it.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.5,
        *,
        initial_step: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        every: int = 8,
        batch: Batch = "next",
        decoupled_weight_decay: float = 0.01,
    ) -> None:
        options = {
            "lr": lr,
            "initial_step": initial_step,
            "betas": betas,
            "eps": eps,
            "every": every,
            "batch": batch,
            "decoupled_weight_decay": decoupled_weight_decay,
            "weight_decay": 0.0,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return Adam with the group's decays and ε."""
        beta1, beta2 = pair_of(group, "betas", "the decay rates (beta1, beta2)")
        return Adam(beta1, beta2, group["eps"])

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return the parabola's rule with the source's constants."""
        group = groups[0]
        return LocalQuadratic(
            every=group["every"],
            batch=group["batch"],
            smoothing=0.9,
            change=(0.5, 2.0),
            keep=True,
            initial=group["initial_step"],
        )

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """What the parabola's rule is made of."""
        return ("every", "batch", "initial_step")
