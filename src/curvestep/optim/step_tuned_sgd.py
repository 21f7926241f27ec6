"""SGD in two half-steps on each batch, tuned by how the gradient changes over the first of them."""

from __future__ import annotations

import math
from typing import Any, final

from torch import Tensor
from torch.optim.optimizer import ParamsT

from curvestep import _numerics
from curvestep._numerics import as_dtype, dots, real, squares
from curvestep._records import Outcome, StepRecord
from curvestep._shards import counted, local, locals_of
from curvestep.directions import Direction, HeavyBall
from curvestep.optim._commit import Move, advance, move
from curvestep.optim._decide import decide, probe_of, record_of, refusal
from curvestep.optim._gather import Part, gather
from curvestep.optim._measure import read
from curvestep.optim._options import check_number, check_rate
from curvestep.optim._processes import Group, gradient_of_all
from curvestep.optim._recorded import AbstractRecordedOptimizer
from curvestep.optim._recordings import Recordings
from curvestep.steprules import StepTuned


@final
class StepTunedSGD(AbstractRecordedOptimizer):
    """Step-Tuned SGD: a decaying rate times the inverse curvature that two gradients of one batch show.

    With J(θ) = mean_s loss_s(θ) + λ/2 ‖θ‖² over the mini-batch and k = 0, 1, …,

        τ = α γ_k / (k+1)^(½+δ),    θ' = θ − τ ∇J(θ),    θ ← θ' − τ ∇J(θ'),

        G ← β G + (1−β) (∇J(θ') − ∇J(θ)),    Ĝ = G / (1 − β^(k+1)),    Δθ = θ' − θ,

        γ_{k+1} = ‖Δθ‖² / ⟨Ĝ, Δθ⟩  where ⟨Ĝ, Δθ⟩ > 0, else ν,  clipped to [m, M].

    | symbol | name | meaning |
    |---|---|---|
    | α | `rate`, `param_groups[i]["lr"]` | learning rate of the first step; it needs tuning |
    | β | `decay` | decay of the averaged change of the gradient |
    | ν | `fallback` | factor where no positive curvature was found |
    | m, M | `factor_range` | range of the factor |
    | δ | `delta` | how much faster than 1/√k the steps fall |
    | λ | `weight_decay` | factor of λ/2 ‖θ‖², which is part of the loss and of both gradients |
    | G | `state[p]["exp_avg"]` | averaged change of the gradient |
    | γ, k | `param_groups[i]["rule_state"]` | |
    | τ | `param_groups[i]["effective_lr"]`, `last_step.step_size` | each half-step's size |

    The second gradient is taken on the recording: same samples, same dropout masks, and the running statistics of
    batch normalisation move once.

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (averages
            and sums are float32 for 16-bit ones).
        rate: α, a learning rate, at least 0. In a group it is `lr`, where schedulers find it; one with 0 is not moved.
        decay: β, without unit, in [0, 1).
        fallback: ν, without unit, above 0.
        factor_range: m and M, without unit, 0 < m ≤ M.
        delta: δ, without unit, in [0, ½].
        weight_decay: λ, at least 0, in the unit of the curvature.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A recording and a second gradient a step: compare at half as many batches. One tensor of state a parameter, and
        three while the step is taken; two host synchronisations.

    Example:
        On ½ · 0.8 θ² the gradient changes by 0.8 a unit, so that the second step's factor is 1.25:

        >>> import torch, curvestep
        >>> theta = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = curvestep.StepTunedSGD([theta], rate=0.5)
        >>> with optimizer.record():
        ...     (0.4 * theta * theta).sum().backward()
        >>> _ = optimizer.step()
        >>> round(theta.item(), 6), round(optimizer.param_groups[0]["rule_state"]["gamma"], 6)  # (1 − 0.4)²
        (0.36, 1.25)

    Source:
        C. Castera, J. Bolte, C. Févotte and E. Pauwels, "Second-order step-size tuning of SGD for non-convex
        optimization", Neural Processing Letters 2022 (arXiv 2103.03570), Algorithm 2 and its default values.

    Deviations:
        - Where either gradient or the loss is not finite, or the first gradient is zero, nothing is changed.
        - Groups may have different α; Δθ and the products are over all of them.
        - The first gradient is `p.grad`, as clipping or accumulation left it; the second one is the recorded batch's
          own, so that both should be left out.
    """

    def __init__(
        self,
        params: ParamsT,
        rate: float,
        *,
        decay: float = 0.9,
        fallback: float = 2.0,
        factor_range: tuple[float, float] = (0.5, 2.0),
        delta: float = 0.001,
        weight_decay: float = 0.0,
    ) -> None:
        options = {
            "lr": rate,
            "decay": decay,
            "fallback": fallback,
            "factor_range": factor_range,
            "delta": delta,
            "weight_decay": weight_decay,
        }
        super().__init__(params, options)

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """What the factor is made of."""
        return ("fallback", "factor_range", "delta")

    def _initial_rule_state(self) -> dict[str, Any]:
        """Return γ = 1 and k = 0."""
        return dict(StepTuned().init())

    def _first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return the state of the average."""
        return _averager(group).init(real(local(parameter).detach()))

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse a group's options that are out of range."""
        check_rate(options)
        check_number(options, "weight_decay", "the factor λ of the L2 term")
        _averager(options)
        _rule(options)

    def _take(self, recordings: Recordings) -> StepRecord:
        """Carry out both half-steps, and say what was done."""
        gathered = gather(type(self).__name__, self.param_groups, self.state, _averager, recordings)
        moving, alpha = gathered.moving, gathered.ell
        sharded = gathered.is_sharded
        numbers = read(gathered.sums(recordings, recordings.loss), self.process_group, sharded)
        outcome = refusal(numbers)
        if outcome is None and not moving:
            outcome = Outcome.ZERO_LR
        if outcome is not None:
            return self._stopped(outcome, alpha, numbers["loss"])

        rule, state = _rule(self.param_groups[0]), self._rule_state()
        norm_sq = numbers["gradient_norm_sq"]
        probe = probe_of({**numbers, "slope": norm_sq, "direction_norm_sq": norm_sq})
        choice = decide(rule, rule.needs, probe, alpha, state, gathered.largest)
        if not choice.advances:
            return self._stopped(choice.outcome, alpha, numbers["loss"])
        halves = [_numerics.scale(part.gradients, part.lr * choice.rescaling) for part in moving]
        seconds = _second_gradients(recordings, moving, halves, self.process_group)
        recordings.release()
        changes = [
            _numerics.add(second, part.gradients, alpha=-1.0) for part, second in zip(moving, seconds, strict=True)
        ]
        averages = [part.direction.propose(change, part.states) for part, change in zip(moving, changes, strict=True)]
        flat = [tensor for half in halves for tensor in half]
        parameters = [parameter for part in moving for parameter in part.parameters]
        found = read(
            {
                "gradient_norm_sq": counted(squares([tensor for second in seconds for tensor in second]), parameters),
                "displacement_norm_sq": counted(squares(flat), parameters),
                "product": counted(
                    dots([tensor for average in averages for tensor in average.direction], flat), parameters
                ),
            },
            self.process_group,
            sharded,
        )
        if not (math.isfinite(found["gradient_norm_sq"]) and math.isfinite(found["product"])):
            return self._stopped(Outcome.NON_FINITE_GRADIENT, alpha, numbers["loss"])
        # Δθ is minus the first half-step.
        learned = rule.learn(state, found["displacement_norm_sq"], -found["product"])
        moves = [
            Move(part.parameters, displacement, 1.0)
            for part, half, second in zip(moving, halves, seconds, strict=True)
            for displacement in (half, _numerics.scale(second, part.lr * choice.rescaling))
        ]
        following = [
            (parameter, {**own, **new})
            for part, average in zip(moving, averages, strict=True)
            for parameter, own, new in zip(part.parameters, part.states, average.following, strict=True)
        ]
        steps = advance(self.state, self.param_groups, following, learned)
        move(self.state, self.param_groups, moves, steps)
        return record_of(probe, choice, alpha, steps)


def _rule(group: dict[str, Any]) -> StepTuned:
    """Return the rule that a group's options describe."""
    factors = group["factor_range"]
    if not (isinstance(factors, (tuple, list)) and len(factors) == 2):
        msg = f"factor_range must be the pair of the least and the largest factor, but {factors!r} was given."
        raise ValueError(msg)
    return StepTuned(group["fallback"], factors[0], factors[1], group["delta"])


def _averager(group: dict[str, Any]) -> Direction:
    """Return the bias-corrected average, which is fed with changes of the gradient."""
    if not 0.0 <= group["decay"] < 1.0:
        msg = f"decay is that of a moving average and must lie in [0, 1), but decay={group['decay']!r} was given."
        raise ValueError(msg)
    return HeavyBall(group["decay"])


def _second_gradients(
    recordings: Recordings, parts: list[Part], halves: list[list[Tensor]], group: Group
) -> list[list[Tensor]]:
    """Return ∇J(θ'), the L2 term included, in the dtype of sums."""
    parameters = [parameter for part in parts for parameter in part.parameters]
    rounded = [
        as_dtype(tensor, parameter.dtype)
        for part, half in zip(parts, halves, strict=True)
        for tensor, parameter in zip(half, part.parameters, strict=True)
    ]
    found = iter(gradient_of_all(recordings.gradient_along(parameters, rounded, -1.0), parameters, group))
    seconds = []
    for part, half in zip(parts, halves, strict=True):
        second = [real(next(found)).to(first.dtype) for first in part.gradients]
        if part.decay > 0.0:
            moved = _numerics.add(
                [real(p.detach()).to(h.dtype) for p, h in zip(locals_of(part.parameters), half, strict=True)],
                half,
                -1.0,
            )
            second = _numerics.add(second, moved, alpha=part.decay)
        seconds.append(second)
    return seconds
