"""The one mutable object of the library: a ``torch.optim.Optimizer`` around a direction and a step rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from curvestep._numerics import on_host, squares, sums_to_host
from curvestep._probe import Need, Probe
from curvestep._records import Outcome, StepRecord
from curvestep.directions import Direction, Proposal
from curvestep.engine import Tape
from curvestep.optim._measure import ON_TAPE, Measurement, along, extend_line, line_resolution
from curvestep.optim._parts import (
    Part,
    check_number,
    collect,
    keep_last_steps,
    last_steps,
    penalty,
    scaled,
    update,
)
from curvestep.optim._recorded import RULE_STATE, STEPS, AbstractRecordedOptimizer
from curvestep.steprules import LineRequest, StepChoice, StepRule

if TYPE_CHECKING:
    from curvestep.optim.compiled import CompiledStep


class AbstractCurvestepOptimizer(AbstractRecordedOptimizer, ABC):
    """Base class of the named optimizers, which say only what direction and what step rule they are made of.

    A step measures the loss along the direction that is really stepped: with several values of ``lr`` the direction of
    group i is scaled by ℓ_i / max ℓ, and one r serves all groups. The order is: loss and gradient finite, direction,
    slope and curvature, rule, states, parameters; whatever refuses before the states leaves everything as it was.
    """

    #: Whether to warn where a part of the batch was to be measured and all of it had to be.
    _announces_whole_batch = True

    #: The rule that was made last, with the options that it was made from.
    _held_rule: tuple[tuple[Any, ...], StepRule] | None = None
    #: Whether a step was carried out with the states that there are, so that they hold finite numbers.
    _seen_finite = False

    @abstractmethod
    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return the direction that a group's options describe."""

    @abstractmethod
    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return the step rule that the groups' ``_rule_options`` describe, and no others; it is one for all groups."""

    # ------------------------------------------------------------------------------------------------ one step

    @property
    def _needs_tape(self) -> bool:
        """Whether the rule asks for curvature or for losses along a line."""
        return bool(self._needs() & ON_TAPE)

    @property
    def _needs_loss(self) -> bool:
        """Whether the rule reads the loss, or it is at hand anyway."""
        return Need.LOSS in self._needs()

    def _needs(self) -> frozenset[Need]:
        """Return what the next step measures: all that the rule needs, or less where the rule is a lazy one."""
        return self._current_rule().needs_at(self._rule_state())

    def _current_rule(self) -> StepRule:
        """Return the rule for the options as they are now; the same object while they are the same."""
        first = self.param_groups[0]
        options = tuple([_fixed(first[name]) for name in self._rule_options])
        if self._held_rule is None or self._held_rule[0] != options:
            self._held_rule = options, self._rule(self.param_groups)
        return self._held_rule[1]

    def _take(self, tape: Tape | None, loss: Tensor | None, scale: Tensor | None) -> StepRecord:
        """Carry out one step after a backward pass, and say what was done."""
        parts = collect(type(self).__name__, self.param_groups, self.state, self._direction, scale)
        moving = [part for part in parts if part.lr > 0.0]
        ell = max((part.lr for part in moving), default=0.0)
        rule, state = self._current_rule(), self._rule_state()
        needs = rule.needs_at(state)
        gradients = [gradient for part in parts for gradient in part.gradients]
        sums = [squares(gradients)]
        if loss is not None:
            sums.append([loss + penalty(parts, loss) if any(part.decay > 0.0 for part in parts) else loss])
        if Need.PARAMETER_NORM in needs:
            sums.append(squares([parameter for part in moving for parameter in part.parameters]))
        # A device is waited for once a step, at its end; the host is asked at once, and may then write in place.
        at_once = not moving or on_host(gradients)
        start = _Start.of(sums_to_host(*sums), loss, needs) if at_once else None
        if start is not None and start.refusal is not None:
            return self._stopped(start.refusal, ell, loss=start.loss)
        if not moving:
            # As in torch.optim, a learning rate of zero still lets the averages see the gradient.
            for part in parts:
                part.direction.absorb(part.gradients, part.states)
            self._keep(parts, state)
            return self._stopped(Outcome.ZERO_LR, ell, loss=None if start is None else start.loss)

        in_place = start is not None and not needs & ON_TAPE and self._is_safe(moving, ell)
        if in_place:
            proposals = [Proposal(part.direction.absorb(part.gradients, part.states), part.states) for part in moving]
        else:
            proposals = [part.direction.propose(part.gradients, part.states) for part in moving]
        directions = [scaled(part, proposal.direction, ell) for part, proposal in zip(moving, proposals, strict=True)]
        measured = along(needs, self._measurement, tape, moving, directions, scale)
        numbers = sums_to_host(*measured, *([] if at_once else sums))
        if start is None:
            start = _Start.of(numbers[len(measured) :], loss, needs)
            if start.refusal is not None:
                return self._stopped(start.refusal, ell, loss=start.loss)
        probe = Probe(
            loss=math.nan if start.loss is None else start.loss,
            slope=numbers[0],
            curvature=numbers[2] if len(measured) > 2 else None,
            absolute_curvature=numbers[3] if len(measured) > 2 else None,
            direction_norm_sq=numbers[1],
            parameter_norm_sq=start.parameter_norm_sq,
            gradient_norm_sq=start.gradient_norm_sq,
            resolution=line_resolution(needs, tape, moving),
        )
        choice = rule.choose(probe, ell, state)
        while isinstance(choice, LineRequest):
            assert tape is not None and loss is not None, "A rule that asks for losses along a line says so in needs."
            fixed = penalty([part for part in parts if part.lr == 0.0], loss)
            line = directions if choice.along == "direction" else last_steps(moving)
            probe = extend_line(probe, choice.steps, tape, moving, line, fixed, scale)
            choice = rule.choose(probe, ell, state)
        if tape is not None:
            tape.release()  # before the update: its tensors are not needed any more, and parameters are about to change
        if choice.outcome.moved and Need.LAST_STEP in rule.needs:
            keep_last_steps(moving, directions, ell * choice.rescaling)
        if choice.advances:
            for part, proposal in zip(moving, proposals, strict=True):
                if not in_place:
                    for held, following in zip(part.states, proposal.following, strict=True):
                        held.update(following)
            for part in parts:
                if part.lr == 0.0:
                    part.direction.absorb(part.gradients, part.states)
            self._keep(parts, choice.state)
        if choice.outcome.moved:
            for part, direction in zip(moving, directions, strict=True):
                update(part, direction, step_size=ell * choice.rescaling, rescaling=choice.rescaling)
        self._seen_finite = self._seen_finite or choice.advances
        return _record_of(probe, choice, ell, self._steps())

    def _measurement(self) -> Measurement:
        """Return how the curvature is to be measured."""
        return Measurement.of(self.param_groups[0], announced=self._announces_whole_batch)

    def _is_safe(self, parts: Sequence[Part], ell: float) -> bool:
        """Whether an unmeasured step from a finite gradient other than zero cannot be refused any more."""
        # It could be for a direction of length zero, which one tensor with a length shows not to be the case, or for a
        # state that holds what is not finite: a step that was carried out has shown that none does.
        if not self._seen_finite:
            return False
        part = parts[0]
        sizes = [parameter.numel() for parameter in part.parameters]
        index = sizes.index(min(sizes))
        at = slice(index, index + 1)
        one = Part(part.group, part.direction, part.parameters[at], part.gradients[at], part.states[at])
        (norm_sq,) = sums_to_host(squares(scaled(one, one.direction.propose(one.gradients, one.states).direction, ell)))
        return 0.0 < norm_sq < math.inf

    def _keep(self, parts: Sequence[Part], rule_state: dict[str, Any]) -> None:
        """Make the states that were advanced those of the parameters, and count the step."""
        for part in parts:
            if part.begins:
                self.state.update({p: state for p, state in zip(part.parameters, part.states, strict=True) if state})
        steps = self._steps() + 1
        for group in self.param_groups:
            group[RULE_STATE] = dict(rule_state)
            group[STEPS] = steps

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, of whose states nothing is known."""
        super().__setstate__(state)
        self._seen_finite = False

    # ---------------------------------------------------------------------------------------------- one compiled step

    def compile(
        self,
        function: Callable[..., Tensor],
        *,
        backend: str | Callable[..., Any] = "inductor",
        options: dict[str, Any] | None = None,
    ) -> CompiledStep:
        """Compile the whole step of a function of the batch: forward, backward, direction and measurement in one graph.

        The callable that comes back takes the step that ``step(closure)`` takes with the closure that clears the
        gradients, calls ``function`` and ``backward`` and returns the loss; but ``p.grad`` is neither read nor written.
        ``last_step``, schedulers, ``state_dict``, ``averaged()`` and options edited between steps work as ever.

        Args:
            function: Gives the mean loss of a batch as a tensor of one number. Everything that changes from call to
                call must be an argument, but for tensors that are written in place, and parameters and buffers.
            backend: A name that ``torch.compile`` knows, or a function of a graph and example inputs.
            options: Inductor's, as in ``torch.compile``.

        Returns:
            The step: called with a batch it returns the loss before the step, detached, of shape ().

        Cost:
            Tracing and compiling at the first call for each set of shapes and modes, seconds to a minute; a lazy rule
            has two graphs. After eight graphs, or where a graph cannot be made, a warning says so once, and the step
            runs uncompiled.

        Example:
            ½ mean_s (θ − x_s)² at ℓ = ½ is minimised in one step, at the mean of the batch:

            >>> import torch, curvestep
            >>> theta = torch.zeros(1, requires_grad=True)
            >>> optimizer = curvestep.RescaledSGD([theta], lr=0.5)
            >>> step = optimizer.compile(lambda x: (0.5 * (theta - x) ** 2).mean(), backend="eager")
            >>> loss = step(torch.tensor([1.0, 2.0, 6.0]))
            >>> round(loss.item(), 4), theta.item(), step.fallback
            (6.8333, 3.0, None)
        """
        from curvestep.optim.compiled import CompiledStep  # torch's tracer takes a second to import

        return CompiledStep(self, function, backend, options)

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse options of the shell, of the direction and of the rule that are out of range."""
        check_number(options, "lr", "the level ℓ")
        check_number(options, "weight_decay", "the factor λ of the L2 term")
        check_number(options, "decoupled_weight_decay", "the factor of the decoupled weight decay")
        Measurement.of(options)
        self._direction(options)
        self._rule([*self.param_groups, options])

    def _initial_rule_state(self) -> dict[str, Any]:
        """Return the rule's state before the first step."""
        return dict(self._rule(self.param_groups).init())


@dataclass(frozen=True)
class _Start:
    """What is known before anything is measured along the direction."""

    loss: float | None
    gradient_norm_sq: float
    parameter_norm_sq: float

    @classmethod
    def of(cls, sums: Sequence[float], loss: Tensor | None, needs: frozenset[Need]) -> _Start:
        """Read the sums: of the gradient, then of the loss if there is one, then of the parameters if asked for."""
        return cls(
            loss=None if loss is None else sums[1],
            gradient_norm_sq=sums[0],
            parameter_norm_sq=sums[-1] if Need.PARAMETER_NORM in needs else math.nan,
        )

    @property
    def refusal(self) -> Outcome | None:
        """Why no step can be taken from here, or None."""
        if self.loss is not None and not math.isfinite(self.loss):
            return Outcome.NON_FINITE_LOSS
        if not math.isfinite(self.gradient_norm_sq):
            return Outcome.NON_FINITE_GRADIENT
        return Outcome.ZERO_GRADIENT if self.gradient_norm_sq == 0.0 else None


def _fixed(option: Any) -> Any:
    """Return an option's value in a form that does not change when a list is edited in place."""
    return tuple(option) if isinstance(option, list) else option


def _record_of(probe: Probe, choice: StepChoice, ell: float, steps: int) -> StepRecord:
    """Return the record of a step whose direction was measured."""
    return StepRecord(
        loss=None if math.isnan(probe.loss) else probe.loss,
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
