"""The one mutable object of the library: a ``torch.optim.Optimizer`` around a direction and a step rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from curvestep._numerics import squared_norm, to_host
from curvestep._probe import Need, Probe
from curvestep._records import Outcome, StepRecord
from curvestep.directions import Direction, Proposal
from curvestep.engine import Tape
from curvestep.optim._measure import ON_TAPE, Measurement, extend_line, measure
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

    @abstractmethod
    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return the direction that a group's options describe."""

    @abstractmethod
    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return the step rule that the groups' options describe; it is one for all groups."""

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
        return self._rule(self.param_groups).needs_at(self._rule_state())

    def _take(self, tape: Tape | None, loss: Tensor | None, scale: Tensor | None) -> StepRecord:
        """Carry out one step after a backward pass, and say what was done."""
        parts = collect(type(self).__name__, self.param_groups, self.state, self._direction, scale)
        moving = [part for part in parts if part.lr > 0.0]
        ell = max((part.lr for part in moving), default=0.0)
        norms = [
            squared_norm([gradient for part in parts for gradient in part.gradients]),
            squared_norm([parameter for part in moving for parameter in part.parameters]),
        ]
        known = [] if loss is None else [loss + penalty(parts, loss)]
        gradient_norm_sq, parameter_norm_sq, *losses = to_host(*norms, *known)
        host_loss = losses[0] if losses else None
        if host_loss is not None and not math.isfinite(host_loss):
            return self._stopped(Outcome.NON_FINITE_LOSS, ell, loss=host_loss)
        if not math.isfinite(gradient_norm_sq):
            return self._stopped(Outcome.NON_FINITE_GRADIENT, ell, loss=host_loss)
        if gradient_norm_sq == 0.0:
            return self._stopped(Outcome.ZERO_GRADIENT, ell, loss=host_loss)
        if not moving:
            # As in torch.optim, a learning rate of zero still lets the averages see the gradient.
            self._advance_states(parts, {}, self._rule_state())
            return self._stopped(Outcome.ZERO_LR, ell, loss=host_loss)

        proposals = {id(part): part.direction.propose(part.gradients, part.states) for part in moving}
        directions = [scaled(part, proposals[id(part)].direction, ell) for part in moving]
        rule, state = self._rule(self.param_groups), self._rule_state()
        size = math.nan if host_loss is None else host_loss
        how = Measurement.of(self.param_groups[0], announced=self._announces_whole_batch)
        probe = measure(self._needs(), how, tape, moving, directions, size, gradient_norm_sq, parameter_norm_sq, scale)
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
            self._advance_states(parts, proposals, choice.state)
        if choice.outcome.moved:
            for part, direction in zip(moving, directions, strict=True):
                update(part, direction, step_size=ell * choice.rescaling, rescaling=choice.rescaling)
        return _record_of(probe, choice, ell, self._steps())

    def _advance_states(
        self, parts: Sequence[Part], proposals: dict[int, Proposal], rule_state: dict[str, Any]
    ) -> None:
        """Make permanent what the step assumed: averages, the rule's state and the count."""
        for part in parts:
            proposal = proposals.get(id(part))
            if proposal is None:
                part.direction.absorb(part.gradients, part.states)
            else:
                for state, following in zip(part.states, proposal.following, strict=True):
                    state.update(following)
            for parameter, state in zip(part.parameters, part.states, strict=True):
                if state:
                    self.state[parameter] = state
        steps = self._steps() + 1
        for group in self.param_groups:
            group[RULE_STATE] = dict(rule_state)
            group[STEPS] = steps

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
