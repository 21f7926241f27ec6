"""Exponentiated-gradient step sizes around any optimizer of torch."""

from __future__ import annotations

from typing import final

from torch.optim import Optimizer

from curvestep.optim._exponentiated import AbstractExponentiatedGradient, Scope


@final
class EGStepSize(AbstractExponentiatedGradient):
    """A scale of the step and a gain of every coordinate, learnt by multiplication around a base optimizer.

    With g = `p.grad`, ĝ and û normalised, all but s entry by entry,

        s ← clip(s · exp(γ_s ⟨ĝ, û⟩)),    p ← clip(p · exp(γ_p sign(g) sign(m))),    m ← β m + (1−β) g,

        u = the base optimizer's update for the gradient p g,    θ ← θ − s u.

    s and p are adapted with the m and u of the step before and the new g, so the first step changes neither.

    | symbol | name | meaning |
    |---|---|---|
    | s | `param_groups[i]["scale"]` ("global"), `state[p]["scale"]` ("tensor") | scale of the step |
    | p | `state[p]["gain"]` | gain of every coordinate |
    | m, u | `state[p]["gradient_average"]`, `state[p]["last_update"]` | averaged gradient; last update, before s |
    | γ_s, γ_p | `scale_lr`, `gain_lr` | how fast s and p move |
    | β | `decay` | decay of m |

    It is itself a torch optimizer that shares groups and state with its base: schedulers, `zero_grad`, `record` and
    `state_dict` go to it. It records where the base does. `p.grad` is the tensor that it was after the step, also where
    the base raises. In `last_step`, τ is that of the largest `lr` times s (scope "tensor": times the mean of the s).

    Args:
        base_optimizer: Any optimizer that makes one update a step from `p.grad`; do not call its `step`.
        scope: "global": one s for all parameters; "tensor": one for each.
        gain_lr: γ_p, at least 0; without unit with signs.
        scale_lr: γ_s, at least 0; without unit with directions.
        decay: β in [0, 1).
        gain_range: Least and largest p, around 1.
        scale_range: Least and largest s, around 1.
        signs: Whether p follows sign(g) sign(m), or g m / (1 − β^k), which has the unit of the squared gradient.
        directions: Whether s follows ⟨ĝ, û⟩, or ⟨g, u⟩, which has the unit of the loss.

    Raises:
        ValueError: An argument is out of range, or the base optimizer evaluates its closure several times.

    Cost:
        The base optimizer's, three tensors of state a parameter, one more during the step, and one host
        synchronisation. With a rate of 0 its part is left out: both 0 is the base optimizer, bit for bit.

    Example:
        Twice the same gradient: the second step is longer by exp(γ_s) and exp(γ_p).

        >>> import torch, curvestep
        >>> theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        >>> optimizer = curvestep.EGStepSize(torch.optim.SGD([theta], lr=1.0), gain_lr=0.25, scale_lr=0.5)
        >>> for _ in range(2):
        ...     theta.grad = torch.ones(1, dtype=torch.float64)
        ...     optimizer.step()
        >>> round(-theta.item() - 1.0, 6)    # exp(¾)
        2.117

    Source:
        E. Amid, R. Anil, C. Fifty and M. K. Warmuth, "Step-size adaptation using exponentiated gradient updates"
        (arXiv 2202.00145); ranges, signs, directions and rates from the EGDD optimizer released by members of the team.

    Deviations:
        - The wrapping of any optimizer is a reading of the source's "augmenting a given optimizer": the base sees p g,
          and u is what it made of it, decoupled weight decay included.
        - A gradient that is not finite skips the step and changes nothing.
    """

    def __init__(
        self,
        base_optimizer: Optimizer,
        *,
        scope: Scope = "global",
        gain_lr: float = 0.01,
        scale_lr: float = 0.001,
        decay: float = 0.9,
        gain_range: tuple[float, float] = (0.01, 100.0),
        scale_range: tuple[float, float] = (0.1, 10.0),
        signs: bool = True,
        directions: bool = True,
    ) -> None:
        super().__init__(base_optimizer, scope, gain_lr, scale_lr, decay, gain_range, scale_range, signs, directions)
