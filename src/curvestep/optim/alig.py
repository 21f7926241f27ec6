"""ALI-G: the gradient step whose size is the loss over the squared gradient, up to a cap."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from curvestep import _numerics
from curvestep._records import Outcome, StepRecord
from curvestep._shards import any_sharded, local, locals_of
from curvestep.directions import MOMENTUM, STEP, Direction, Gradient, Nesterov
from curvestep.optim._commit import Move, advance, move
from curvestep.optim._decide import decide, probe_of, record_of, refusal
from curvestep.optim._gather import Part, gather, squares_of
from curvestep.optim._measure import read
from curvestep.optim._proof import LEFT_NORM_SQ
from curvestep.optim._recorded import AbstractRecordedOptimizer
from curvestep.optim._recordings import Recordings
from curvestep.steprules import Polyak


@final
class ALIG(AbstractRecordedOptimizer):
    """Adaptive learning rates for interpolation with gradients: Polyak's step size, capped by ``cap``.

    For J the mean loss of the mini-batch, without a regulariser, and g its gradient over all parameters,

        γ = max(J − J⋆, 0) / (‖g‖² + ε),    τ_i = min(γ, η_i) in group i,    θ ← θ − τ g,

    then, if a radius ρ is given, θ ← ρ θ / ‖θ‖ where ‖θ‖ > ρ. With momentum μ one of two forms of Nesterov's:

        standard:  v ← μ v + τ g,    θ ← θ − τ g − μ v

        adjusted:  m ← μ m + g,      θ ← θ − τ (g + μ m)

    | symbol | name | meaning |
    |---|---|---|
    | η | `cap`, `param_groups[i]["lr"]` | largest step size; None: no cap |
    | J⋆ | `lower_bound` | what the loss cannot fall below |
    | ε | `eps` | added to the squared norm |
    | μ | `momentum` | decay of v or m, `state[p]["momentum_buffer"]` |
    | ρ | `max_norm` | radius of the ball that the parameters are kept in |
    | γ | `last_step.rescaling` | step size before the cap |
    | τ | `param_groups[i]["effective_lr"]`, `last_step.step_size` | step size; in `last_step` that of the largest η |

    It relies on a loss that can reach J⋆ on every batch: with label noise, strong augmentation or
    smoothed labels the size ends at the cap, and this is SGD. Regularise by `max_norm`, not by a penalty.

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`; real, any floating dtype (momentum
            and sums are float32 for 16-bit ones).
        cap: η, in the unit of a learning rate, at least 0, or None. In a group it is `lr`, where schedulers find it.
        momentum: μ, without unit, in [0, 1).
        adjusted: Which form of momentum: False weights each gradient by the step size of its step, True all of them by
            the present one.
        max_norm: ρ, above 0, in the unit of the parameters, or None. The norm is that of all parameters that require a
            gradient together, biases and normalisation included; it is applied at construction too.
        lower_bound: J⋆, in the unit of the loss, finite.
        eps: ε, in the unit of the squared gradient, at least 0.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        That of SGD, and one host synchronisation; nothing is recorded where `step` is given a closure. One tensor of
        state a parameter with momentum.

    Example:
        J = ½ ‖θ‖² has g = θ, so that γ = ½ wherever it starts:

        >>> import torch, curvestep
        >>> theta = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> optimizer = curvestep.ALIG([theta], eps=0.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = 0.5 * (theta * theta).sum()
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> theta.tolist()
        [1.5, 2.0]

    Source:
        L. Berrada, A. Zisserman and M. P. Kumar, "Training neural networks for and by interpolation", ICML 2020
        (arXiv 1906.05661), and the code released with it for ε, the forms of momentum and the joint projection.

    Deviations:
        - A loss below J⋆ gives a step of size 0; the released code steps uphill. A loss or a gradient that is not
          finite, or a gradient of zero, changes nothing, not even the momentum.
        - J⋆ other than 0.
    """

    def __init__(
        self,
        params: ParamsT,
        cap: float | None = 1.0,
        *,
        momentum: float = 0.0,
        adjusted: bool = False,
        max_norm: float | None = None,
        lower_bound: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        options = {
            "lr": _cap(cap),
            "momentum": momentum,
            "adjusted": adjusted,
            "max_norm": max_norm,
            "lower_bound": lower_bound,
            "eps": eps,
        }
        super().__init__(params, options)
        with torch.no_grad():
            self._project()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with the options it names and the optimizer's own for the rest.

        Args:
            param_group: ``{"params": …, option: value, …}``.

        Raises:
            ValueError: An option is out of range, or an option of the step rule differs from
                that of the other groups.
        """
        if "lr" in param_group:
            param_group = {**param_group, "lr": _cap(param_group["lr"])}
        super().add_param_group(param_group)

    @property
    def _needs_tape(self) -> bool:
        """The loss and the gradient are all that is read."""
        return False

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """What Polyak's step and the joint projection are made of."""
        return ("max_norm", "lower_bound", "eps")

    def _initial_rule_state(self) -> dict[str, Any]:
        """Return the empty state."""
        return {}

    def _first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return the state of the momentum."""
        return _momentum(group).init(_numerics.real(local(parameter).detach()))

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse a group's options that are out of range."""
        lr, max_norm = options["lr"], options["max_norm"]
        if not (_is_number(lr) and lr >= 0.0):
            msg = (
                "cap (lr in a group) is η, the largest step size, and must be a number of at least 0, or None for no "
                f"limit, but {lr!r} was given."
            )
            raise ValueError(msg)
        if max_norm is not None and not (_is_number(max_norm) and math.isfinite(max_norm) and max_norm > 0.0):
            msg = (
                "max_norm is the radius of the ball that the parameters are kept in and must be finite and above 0, or "
                f"None for no ball, but max_norm={max_norm!r} was given."
            )
            raise ValueError(msg)
        if not isinstance(options["adjusted"], bool):
            msg = f"adjusted names one of two forms and must be True or False, but {options['adjusted']!r} was given."
            raise ValueError(msg)
        _momentum(options)
        Polyak(options["lower_bound"], options["eps"])

    def _group_step(self, group: dict[str, Any], step: StepRecord) -> float:
        """Return τ_i."""
        return min(step.rescaling, float(group["lr"])) if step.outcome.moved and step.rescaling is not None else 0.0

    def _take(self, recordings: Recordings) -> StepRecord:
        """Carry out one step after the backward passes, and say what was done."""
        gathered = gather(type(self).__name__, self.param_groups, self.state, _momentum, recordings)
        numbers = read(gathered.sums(recordings, recordings.loss), self.process_group, gathered.is_sharded)
        recordings.release()
        outcome = refusal(numbers)
        if outcome is not None:
            return self._stopped(outcome, gathered.ell, numbers["loss"])
        norm_sq = numbers.get(LEFT_NORM_SQ, numbers["gradient_norm_sq"])  # a clipped gradient shortens the step
        probe = probe_of({**numbers, "gradient_norm_sq": norm_sq, "slope": norm_sq, "direction_norm_sq": norm_sq})
        first = self.param_groups[0]
        cap = gathered.ell
        rule = Polyak(first["lower_bound"], first["eps"])
        choice = decide(rule, rule.needs, probe, 1.0, {}, gathered.largest, limit=cap)
        if not choice.advances:
            return self._stopped(choice.outcome, cap, numbers["loss"])
        if cap == 0.0:
            choice = replace(choice, outcome=Outcome.ZERO_LR)
        elif choice.rescaling > cap:
            choice = replace(choice, outcome=Outcome.CAPPED)
        moves = [_moved(part, min(choice.rescaling, part.lr)) for part in gathered.parts]
        states = [(p, s) for part in gathered.parts for p, s in zip(part.parameters, part.states, strict=True) if s]
        steps = advance(self.state, self.param_groups, states, {})
        if choice.outcome.moved:
            move(self.state, self.param_groups, moves, steps)
            self._project()
        return record_of(probe, choice, cap, steps, min(choice.rescaling, cap))

    def _project(self) -> None:
        """Write θ ← ρ θ / ‖θ‖ where ‖θ‖ > ρ, over all parameters that require a gradient together."""
        radius = self.param_groups[0]["max_norm"]
        if radius is None:
            return
        parameters = [p.detach() for group in self.param_groups for p in group["params"] if p.requires_grad]
        shards = any_sharded(parameters)
        norm_sq = read({"norm_sq": squares_of(parameters)}, self.process_group, shards)["norm_sq"]
        norm = math.sqrt(norm_sq) if norm_sq >= 0.0 else math.nan
        if radius < norm < math.inf:
            _numerics.scale_(locals_of(parameters), radius / norm)


def _momentum(group: dict[str, Any]) -> Direction:
    """Return what keeps the momentum of a group, or nothing."""
    return Nesterov(group["momentum"]) if group["momentum"] != 0.0 else Gradient()


def _moved(part: Part, size: float) -> Move:
    """Advance a group's momentum, and return the step of this size; none for a group with lr=0."""
    momentum = part.group["momentum"]
    if momentum == 0.0 or part.group["adjusted"]:
        displacement = _numerics.scale(part.direction.absorb(part.gradients, part.states), size)
    else:
        displacement = _numerics.scale(part.gradients, size)
        velocity = [state[MOMENTUM] for state in part.states]
        _numerics.scale_(velocity, momentum)
        _numerics.add_(velocity, displacement)
        _numerics.add_(displacement, velocity, alpha=momentum)
        for state in part.states:
            state[STEP] += 1
    return Move([], [], 0.0) if part.lr == 0.0 else Move(part.parameters, displacement, 1.0)


def _cap(lr: float | None) -> float:
    """Return η as a number, infinite where there is no cap, so that schedulers can multiply it."""
    return math.inf if lr is None else lr


def _is_number(value: object) -> bool:
    """Whether a value is a real number other than NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
