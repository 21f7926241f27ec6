"""The one mutable object of the library: a ``torch.optim.Optimizer`` around a direction and a step rule."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from curvestep import _numerics
from curvestep._errors import CurvestepError, RecordingError
from curvestep._numerics import dot, squared_norm, to_host, working_dtype
from curvestep._probe import Need, Probe
from curvestep._records import Outcome, StepRecord
from curvestep.directions import Direction, State
from curvestep.engine import Memory, Tape, record
from curvestep.steprules import StepChoice, StepRule

#: Name in every parameter group of τ_i, the learning rate that the last step amounted to there.
EFFECTIVE_LR = "effective_lr"
#: Name in every parameter group of the number of times that the optimizer's state was advanced.
STEPS = "steps"
#: Name in every parameter group of the step rule's state; the same in all of them.
RULE_STATE = "rule_state"

_NOTHING_RECORDED = """\
step() needs a recorded forward and backward pass, but nothing was recorded since the last step. Either record it,

    with optimizer.record():
        loss = loss_function(model(inputs), targets)
        loss.backward()
    optimizer.step()

or give step a closure,

    def closure():
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        return loss
    optimizer.step(closure)"""


_NO_SAMPLES = (
    "The recording shows no axis along which samples are lined up, so the loss is taken as that of a single sample: "
    "the absolute value is that of the whole batch's curvature, and steps may be longer than Algorithm 1 makes them. "
    "Say how many samples there are: optimizer.record(batch_size=…)."
)

_MIXED_SAMPLES = (
    "The curvature of single samples cannot be told apart in this recording, because samples mix or their axis is lost; "
    "its mean over the batch is exact, and the absolute values in Algorithm 1 are those of an approximate split. "
    "curvestep.doctor says where it happens; where the axis was guessed wrong: optimizer.record(batch_size=…)."
)


@dataclass(frozen=True)
class _Part:
    """What one parameter group brings to one step: parameters with a gradient, and what belongs to each of them."""

    group: dict[str, Any]
    direction: Direction
    parameters: list[Tensor]
    gradients: list[Tensor]  # λ θ included; float32 or wider
    states: list[State]

    @property
    def lr(self) -> float:
        """The group's ℓ."""
        return float(self.group["lr"])


class AbstractCurvestepOptimizer(Optimizer, ABC):
    """Base class of the named optimizers, which say only what direction and what step rule they are made of.

    A step measures the loss along the direction that is really stepped: with several values of ``lr`` the direction of
    group i is scaled by ℓ_i / max ℓ, and one r serves all groups. The order is: loss and gradient finite, direction,
    slope and curvature, rule, states, parameters; whatever refuses before the states leaves everything as it was.
    """

    #: Read by ``torch.amp.GradScaler``: it then leaves the gradients scaled and hands over ``self.grad_scale``.
    _step_supports_amp_scaling = True

    last_step: StepRecord | None

    def __init__(self, params: ParamsT, options: dict[str, Any]) -> None:
        """Take the parameters and the options of a group, ``lr`` and the two weight decays among them."""
        self._tape: Tape | None = None
        self.last_step = None
        super().__init__(params, {**options, EFFECTIVE_LR: 0.0, STEPS: 0, RULE_STATE: {}})

    @abstractmethod
    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return the direction that a group's options describe."""

    @abstractmethod
    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return the step rule that the groups' options describe; it is one for all groups."""

    @property
    @abstractmethod
    def _rule_options(self) -> tuple[str, ...]:
        """The options that belong to the rule and must therefore be the same in every group."""

    # ------------------------------------------------------------------------------------------------ recording

    @contextmanager
    def record(self, batch_size: int | None = None, *, memory: Memory | float = "keep") -> Iterator[Tape]:
        """Record the forward and the backward pass inside the ``with`` block, for the next ``step()``.

        A new recording replaces one that was not used and frees it.

        Args:
            batch_size: The number of samples, where it cannot be read off the data; as in ``curvestep.record``.
            memory: What is held of the cotangents, "keep", "split" or a share; as in ``curvestep.record``.

        Yields:
            The tape, as ``curvestep.record()`` gives it.
        """
        self._drop_tape()
        with record(batch_size, memory=memory) as tape:
            try:
                yield tape
            except BaseException:
                tape.release()
                raise
        self._tape = tape

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Choose the step size for the recorded mini-batch and take the step.

        Args:
            closure: Clears the gradients, computes the loss, calls ``backward`` on it and returns it. It is called
                once. Without it the last ``record()`` is used.

        Returns:
            What the closure returned, or else the recorded loss as a 0-d tensor; without the L2 term.

        Raises:
            RecordingError: Nothing was recorded, or not exactly one backward pass.
            CurvestepError: A gradient is sparse, or a GradScaler is used in a way that hides its scale.

        Cost:
            One tangent pass over the recording, one tensor the size of the parameters for the direction and as many
            again as it has averages while it is computed, and two host synchronisations.
        """
        with torch.no_grad():
            scale = self._loss_scale(closure)
            returned: Any = None
            if closure is not None:
                with torch.enable_grad(), self.record():
                    returned = closure()
            tape, self._tape = self._tape, None
            if tape is None:
                raise RecordingError(_NOTHING_RECORDED)
            try:
                tape.require_backward()
                loss = tape.loss if scale is None else tape.loss / scale
                self.last_step = self._take(tape, loss, scale)
            finally:
                tape.release()
            for group in self.param_groups:
                group[EFFECTIVE_LR] = _effective_lr(group, self.last_step)
            return loss if returned is None else returned

    # ------------------------------------------------------------------------------------------------ one step

    def _take(self, tape: Tape, loss: Tensor, scale: Tensor | None) -> StepRecord:
        """Carry out one step on a tape with a backward pass, and say what was done."""
        parts = self._parts(scale)
        moving = [part for part in parts if part.lr > 0.0]
        ell = max((part.lr for part in moving), default=0.0)
        penalty = [
            squared_norm(part.parameters) * (0.5 * part.group["weight_decay"])
            for part in parts
            if part.group["weight_decay"] > 0.0
        ]
        host_loss, gradient_norm_sq, parameter_norm_sq = to_host(
            sum((term.to(loss.device) for term in penalty), loss),
            squared_norm([gradient for part in parts for gradient in part.gradients]),
            squared_norm([parameter for part in moving for parameter in part.parameters]),
        )
        if not math.isfinite(host_loss):
            return self._stopped(Outcome.NON_FINITE_LOSS, ell, loss=host_loss)
        if not math.isfinite(gradient_norm_sq):
            return self._stopped(Outcome.NON_FINITE_GRADIENT, ell, loss=host_loss)
        if gradient_norm_sq == 0.0:
            return self._stopped(Outcome.ZERO_GRADIENT, ell, loss=host_loss)
        if not moving:
            # As in torch.optim, a learning rate of zero still lets the averages see the gradient.
            self._advance_states(parts, self._rule_state())
            return self._stopped(Outcome.ZERO_LR, ell, loss=host_loss)

        directions = [_scaled_direction(part, ell) for part in moving]
        rule = self._rule(self.param_groups)
        probe = _measure(rule.needs, tape, moving, directions, host_loss, parameter_norm_sq, scale)
        tape.release()  # before the update: its tensors are not needed any more, and parameters are about to change
        choice = rule.choose(probe, ell, self._rule_state())
        if choice.advances:
            self._advance_states(parts, choice.state)
        if choice.outcome.moved:
            for part, direction in zip(moving, directions, strict=True):
                _update(part, direction, step_size=ell * choice.rescaling, rescaling=choice.rescaling)
        return _record_of(probe, choice, ell, self._steps())

    def _parts(self, scale: Tensor | None) -> list[_Part]:
        """Collect the parameters that require a gradient and have one; refuse what cannot be stepped."""
        parts = []
        for group in self.param_groups:
            direction = self._direction(group)
            parameters = [p for p in group["params"] if p.requires_grad and p.grad is not None]
            if not parameters:
                continue
            gradients = []
            for parameter in parameters:
                gradient = parameter.grad
                if gradient.layout is not torch.strided:
                    msg = (
                        f"{type(self).__name__} needs dense gradients, but a parameter of shape "
                        f"{tuple(parameter.shape)} has a gradient of layout {gradient.layout}: build the embedding "
                        "with sparse=False."
                    )
                    raise CurvestepError(msg)
                gradients.append(gradient.detach().to(working_dtype(parameter.dtype)))
            if scale is not None:
                gradients = [gradient / scale.to(gradient.device) for gradient in gradients]
            decay = group["weight_decay"]
            if decay > 0.0:  # new tensors: p.grad is never written
                widened = [p.detach().to(g.dtype) for p, g in zip(parameters, gradients, strict=True)]
                gradients = _numerics.add(gradients, widened, alpha=decay)
            # A state that does not exist yet is entered only once the step is known to go ahead.
            states = [self.state[p] if p in self.state else direction.init(p.detach()) for p in parameters]
            parts.append(_Part(group, direction, parameters, gradients, states))
        return parts

    def _advance_states(self, parts: Sequence[_Part], rule_state: dict[str, Any]) -> None:
        """Make permanent what the step assumed: averages, the rule's state and the count."""
        for part in parts:
            part.direction.advance(part.gradients, part.states)
            for parameter, state in zip(part.parameters, part.states, strict=True):
                if state:
                    self.state[parameter] = state
        steps = self._steps() + 1
        for group in self.param_groups:
            group[RULE_STATE] = dict(rule_state)
            group[STEPS] = steps

    def _stopped(self, outcome: Outcome, ell: float, loss: float) -> StepRecord:
        """Return the record of a step that ended before anything was measured along a direction."""
        return StepRecord(
            loss=loss,
            slope=None,
            curvature=None,
            absolute_curvature=None,
            lipschitz=None,
            rescaling=None,
            ell=ell,
            step_size=0.0,
            direction_norm=None,
            outcome=outcome,
            step=self._steps(),
        )

    def _rule_state(self) -> dict[str, Any]:
        """Return the rule's state, which is the same in every group."""
        return self.param_groups[0][RULE_STATE]

    def _steps(self) -> int:
        """Return how many times the state was advanced."""
        return int(self.param_groups[0][STEPS])

    def _drop_tape(self) -> None:
        """Free a recording that was not used."""
        if self._tape is not None:
            self._tape.release()
            self._tape = None

    def _loss_scale(self, closure: Callable[[], Any] | None) -> Tensor | None:
        """Return the factor that a GradScaler put on the loss, None without one; refuse where it cannot be known."""
        if not hasattr(self, "found_inf"):  # set by GradScaler.step on the optimizer for the time of the call
            return None
        if closure is not None:
            msg = (
                "GradScaler.step was given a closure, whose gradients would be scaled after the scaler has looked for "
                "infinities. Record the scaled backward instead: 'with optimizer.record(): loss = …; "
                "scaler.scale(loss).backward()', then 'scaler.step(optimizer)'."
            )
            raise CurvestepError(msg)
        scale: Tensor | None = getattr(self, "grad_scale", None)
        if scale is None:
            self._drop_tape()
            msg = (
                "The recorded loss carries the GradScaler's factor, but scaler.unscale_(optimizer) has removed it from "
                "the gradients and the optimizer is not told what it was. Leave unscale_ out (the optimizer unscales "
                "by itself), or train in bfloat16, which needs no GradScaler."
            )
            raise CurvestepError(msg)
        return scale

    # ------------------------------------------------------------------------------------- groups and state_dict

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with the options it names and the optimizer's own for the rest.

        Args:
            param_group: ``{"params": …, option: value, …}``.

        Raises:
            ValueError: An option is out of range, a parameter is complex, or an option of the step rule differs from
                that of the other groups.
        """
        options = {**self.defaults, **param_group}
        _check_options(options)
        self._direction(options)
        rule = self._rule([*self.param_groups, options])
        if self.param_groups:
            first = self.param_groups[0]
            for name in self._rule_options:
                if options[name] != first[name]:
                    msg = (
                        f"{name} belongs to the step rule, which is one for all parameter groups, but a group with "
                        f"{name}={options[name]!r} was added to groups with {name}={first[name]!r}."
                    )
                    raise ValueError(msg)
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        for parameter in added["params"]:
            if parameter.is_complex():
                self.param_groups.pop()
                msg = (
                    f"{type(self).__name__} needs real parameters, but one of shape {tuple(parameter.shape)} has dtype "
                    f"{parameter.dtype}: hold its real and imaginary part (torch.view_as_real) as the parameter."
                )
                raise ValueError(msg)
        shared = self.param_groups[0]
        added[RULE_STATE] = dict(shared[RULE_STATE] or rule.init())
        added[STEPS] = shared[STEPS]

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what ``state_dict()`` returned; the next step is then the one that would have followed, bit for bit.

        Args:
            state_dict: The dictionary, as it was or through ``torch.save`` and ``torch.load(weights_only=True)``.
        """
        super().load_state_dict(state_dict)
        # torch casts state to the parameter's dtype, which for 16-bit parameters would round the float32 averages.
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(saved_ids, parameters, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor) and self.state[parameter][name].dtype != value.dtype:
                    self.state[parameter][name] = value.detach().to(device=parameter.device, copy=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, giving options that it did not know their defaults."""
        super().__setstate__(state)
        vars(self).setdefault("_tape", None)
        vars(self).setdefault("last_step", None)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                if name != "differentiable":  # torch puts this among the defaults of whatever it restores
                    group.setdefault(name, value)
            group[RULE_STATE] = dict(group[RULE_STATE] or self._rule(self.param_groups).init())


def _measure(
    needs: frozenset[Need],
    tape: Tape,
    parts: Sequence[_Part],
    directions: Sequence[list[Tensor]],
    loss: float,
    parameter_norm_sq: float,
    scale: Tensor | None,
) -> Probe:
    """Measure along the direction what a rule needs, with one host synchronisation."""
    parameters = [parameter for part in parts for parameter in part.parameters]
    flat = [tensor for direction in directions for tensor in direction]
    # The slope is that of the gradient the step uses: p.grad, as accumulation, clipping or averaging left it, plus λ θ.
    scalars = [dot([gradient for part in parts for gradient in part.gradients], flat), squared_norm(flat)]
    wants_curvature = bool(needs & {Need.CURVATURE, Need.ABSOLUTE_CURVATURE})
    if wants_curvature:
        found = tape.curvature(parameters, flat)
        total, per_sample = found.total, found.per_sample
        if per_sample is None:
            warnings.warn(_NO_SAMPLES, stacklevel=4)
            per_sample = total.reshape(1)
        elif not found.per_sample_exact:
            warnings.warn(_MIXED_SAMPLES, stacklevel=4)  # Python's own filter says it once
        if scale is not None:
            total, per_sample = total / scale.to(total.device), per_sample / scale.to(per_sample.device)
        for part, direction in zip(parts, directions, strict=True):
            decay = part.group["weight_decay"]
            if decay > 0.0:  # the L2 term is part of every J_s: dᵀ∇²(λ/2 ‖θ‖²)d = λ ‖d‖², inside the absolute value
                penalty = squared_norm(direction) * decay
                total = total + penalty.to(total.device)
                per_sample = per_sample + penalty.to(per_sample.device)
        scalars += [total, per_sample.abs().mean()]
    slope, direction_norm_sq, *curvatures = to_host(*scalars)
    return Probe(
        loss=loss,
        slope=slope,
        curvature=curvatures[0] if wants_curvature else None,
        absolute_curvature=curvatures[1] if wants_curvature else None,
        direction_norm_sq=direction_norm_sq,
        parameter_norm_sq=parameter_norm_sq,
    )


def _scaled_direction(part: _Part, ell: float) -> list[Tensor]:
    """Return the part's direction times its share of ℓ, in the dtype of the parameters."""
    direction = part.direction.propose(part.gradients, part.states)
    if part.lr != ell:
        direction = _numerics.scale(direction, part.lr / ell)
    return [tensor.to(parameter.dtype) for tensor, parameter in zip(direction, part.parameters, strict=True)]


def _update(part: _Part, direction: Sequence[Tensor], step_size: float, rescaling: float) -> None:
    """Write θ ← (1 − τ_i λ_dec) θ − τ d."""
    decay = part.group["decoupled_weight_decay"]
    if decay > 0.0:
        # A step so long that the factor would be negative takes the parameters to zero, not to the other side.
        _numerics.scale_(part.parameters, max(0.0, 1.0 - part.lr * rescaling * decay))
    _numerics.add_(part.parameters, direction, alpha=-step_size)


def _record_of(probe: Probe, choice: StepChoice, ell: float, steps: int) -> StepRecord:
    """Return the record of a step whose direction was measured."""
    return StepRecord(
        loss=probe.loss,
        slope=probe.slope,
        curvature=probe.curvature,
        absolute_curvature=probe.absolute_curvature,
        lipschitz=choice.lipschitz,
        rescaling=choice.rescaling,
        ell=ell,
        step_size=ell * choice.rescaling,
        direction_norm=math.sqrt(probe.direction_norm_sq) if probe.direction_norm_sq >= 0.0 else math.nan,
        outcome=choice.outcome,
        step=steps,
    )


def _effective_lr(group: dict[str, Any], step: StepRecord) -> float:
    """Return τ_i, the group's ℓ times r; 0 where no step was taken."""
    return float(group["lr"]) * step.rescaling if step.outcome.moved and step.rescaling is not None else 0.0


def _check_options(options: dict[str, Any]) -> None:
    """Refuse values of the shell's own options that are out of range."""
    meanings = {
        "lr": "the level ℓ",
        "weight_decay": "the factor λ of the L2 term",
        "decoupled_weight_decay": "the factor of the decoupled weight decay",
    }
    for name, meaning in meanings.items():
        value = options[name]
        valid = (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0.0
        )
        if not valid:
            msg = f"{name} is {meaning} and must be a finite number of at least 0, but {name}={value!r} was given."
            raise ValueError(msg)
