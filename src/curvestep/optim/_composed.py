"""Optimizers that are compositions: a direction and a step rule, in one ``torch.optim.Optimizer``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from curvestep._numerics import on_host, real, squares, sums_to_host
from curvestep._probe import Need, Probe
from curvestep._records import Outcome, StepRecord
from curvestep._shards import local
from curvestep.directions import Adam, Direction, Proposal
from curvestep.directions._moments import zeros
from curvestep.optim._commit import Move, advance, keep_last_steps, kept_by_decay, move
from curvestep.optim._decide import decide, probe_of, record_of, refusal
from curvestep.optim._gather import LAST_STEP, Gathered, Part, gather, scaled
from curvestep.optim._measure import ON_TAPE, look, read, resolution, settle_slope, sums_along
from curvestep.optim._options import MEASUREMENTS, Measure, check_number
from curvestep.optim._processes import is_shared
from curvestep.optim._proof import SLOPE_ROUNDING
from curvestep.optim._recorded import AbstractRecordedOptimizer
from curvestep.optim._recordings import Recordings
from curvestep.optim._weights import weight_size, weight_squares
from curvestep.steprules import LineRequest, StepChoice, StepRule

if TYPE_CHECKING:
    from curvestep.optim.compiled import Backend, CompiledStep


class AbstractComposedOptimizer(AbstractRecordedOptimizer, ABC):
    """Base class of the named optimizers, which say only what direction and what step rule they are made of.

    A step measures the loss along the direction that is really stepped: with several values of ``lr`` the direction of
    group i is scaled by ℓ_i / max ℓ, and all groups have one r. Its order is gather, measure, decide, commit; a step
    that is refused before the commit changes nothing.
    """

    #: Whether to warn where the whole batch is measured although a part was asked for.
    _announces_whole_batch = True

    #: The last rule that was made, with its options.
    _held_rule: tuple[tuple[Any, ...], StepRule] | None = None
    #: Whether a step was taken with the present states, which shows that they are finite.
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
        """Whether the rule needs curvatures or losses along a line."""
        return bool(self._needs() & ON_TAPE)

    @property
    def _needs_loss(self) -> bool:
        """Whether the rule reads the loss, or it is at hand anyway."""
        return Need.LOSS in self._needs()

    def _needs(self) -> frozenset[Need]:
        """Return what the next step measures."""
        return self._current_rule().needs_at(self._rule_state())

    def _current_rule(self) -> StepRule:
        """Return the rule for the options as they are now; the same object while they are the same."""
        first = self.param_groups[0]
        values = [first.get(name) for name in self._rule_options]
        # A list may be edited in place.
        options = tuple([tuple(value) if isinstance(value, list) else value for value in values])
        if self._held_rule is None or self._held_rule[0] != options:
            self._held_rule = options, self._rule(self.param_groups)
        return self._held_rule[1]

    def _first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return the direction's state, and what the rule and an average keep beside it."""
        held = real(local(parameter).detach())
        last = {LAST_STEP: zeros(held)} if Need.LAST_STEP in self._current_rule().needs else {}
        return {**self._direction(group).init(held), **last, **super()._first_state(group, parameter)}

    def _take(self, recordings: Recordings) -> StepRecord:
        """Carry out one step after a backward pass, and say what was done."""
        rule, state = self._current_rule(), self._rule_state()
        needs, group = rule.needs_at(state), self.process_group
        # A loss that is not read must not refuse a step in one process alone.
        loss = recordings.loss if Need.LOSS in needs or not is_shared(group) else None
        gathered = gather(type(self).__name__, self.param_groups, self.state, self._direction, recordings)
        moving, ell = gathered.moving, gathered.ell
        sums = gathered.sums(recordings, loss, parameter_norm=Need.PARAMETER_NORM in needs)
        if Need.WEIGHT_SIZE in needs:
            sums.update(weight_squares(gathered))
        # A device is waited for once a step, at its end; the host is asked at once, and may then write in place.
        # Processes meet once a step too, where it measures.
        sharded = gathered.is_sharded
        waits = sharded or (needs & ON_TAPE and is_shared(group))
        at_once = not moving or (on_host(gathered.gradients) and not waits)
        numbers = read(sums, group, sharded) if at_once else {}
        if at_once and (outcome := refusal(numbers)) is not None:
            return self._stopped(outcome, ell, numbers.get("loss"))
        if not moving:
            # As in torch.optim, the averages absorb the gradient although the learning rate is zero.
            self._absorb(gathered.parts)
            advance(self.state, self.param_groups, _begun(gathered.parts), state)
            return self._stopped(Outcome.ZERO_LR, ell, numbers.get("loss"))

        in_place = at_once and not needs & ON_TAPE and self._is_safe(moving, ell)
        if in_place:
            proposals = [Proposal(part.direction.absorb(part.gradients, part.states), part.states) for part in moving]
        else:
            proposals = [part.direction.propose(part.gradients, part.states) for part in moving]
        directions = [scaled(part, proposal.direction, ell) for part, proposal in zip(moving, proposals, strict=True)]
        how = self._measure() if needs & ON_TAPE else None
        looks = how is not None and how.samples is not None and _is_power_of_two(self.param_groups[0][MEASUREMENTS] + 1)
        along = sums_along(needs, how, recordings, gathered, directions, group, looks_at_all=looks)
        numbers.update(read(along if at_once else {**along, **sums}, group, sharded))
        if not at_once and (outcome := refusal(numbers)) is not None:
            return self._stopped(outcome, ell, numbers.get("loss"))

        if Need.WEIGHT_SIZE in needs:
            numbers["weight_size"] = weight_size(numbers, gathered)
        known = settle_slope(numbers, recordings, gathered, how, group, self.param_groups[0][SLOPE_ROUNDING])

        def measure_line(probe: Probe, asked: LineRequest) -> Probe:
            assert loss is not None, "What has a recording has its loss."
            return look(probe, asked, recordings, gathered, directions, loss, group)

        probe = probe_of(numbers, resolution(needs, recordings, gathered))
        choice = decide(rule, needs, probe, ell, state, gathered.largest, measure_line if recordings.tapes else None)
        recordings.release()  # before the update: parameters are about to change, and memory is wanted
        following = [] if in_place else [proposal.following for proposal in proposals]
        if choice.advances:
            for each in self.param_groups:
                each[SLOPE_ROUNDING] = known
        return self._commit(rule, probe, choice, gathered, directions, following)

    def _commit(
        self,
        rule: StepRule,
        probe: Probe,
        choice: StepChoice,
        gathered: Gathered,
        directions: Sequence[list[Tensor]],
        following: Sequence[list[dict[str, Any]]],
    ) -> StepRecord:
        """Write what was decided, and say what was done."""
        moving, ell, steps = gathered.moving, gathered.ell, self._steps()
        if choice.outcome.moved and Need.LAST_STEP in rule.needs:
            keep_last_steps(moving, directions, ell * choice.rescaling)
        if choice.advances:
            for part, states in zip(moving, following, strict=False):
                for held, new in zip(part.states, states, strict=True):
                    held.update(new)
            self._absorb([part for part in gathered.parts if part.lr == 0.0])
            steps = advance(
                self.state, self.param_groups, _begun(gathered.parts), choice.state,
                measured=probe.curvature is not None,
            )  # fmt: skip
            self._seen_finite = True
        if choice.outcome.moved:
            moves = [
                Move(
                    part.parameters,
                    direction,
                    ell * choice.rescaling,
                    kept_by_decay(part.group.get("decoupled_weight_decay", 0.0), part.lr * choice.rescaling),
                )
                for part, direction in zip(moving, directions, strict=True)
            ]
            move(self.state, self.param_groups, moves, steps)
        return record_of(probe, choice, ell, steps)

    def _measure(self) -> Measure:
        """Return how the curvature is to be measured."""
        return Measure.of(self.param_groups[0], announced=self._announces_whole_batch)

    def _is_compilable(self) -> bool:
        """Whether the next step is one that a graph may take: a first one that asks for sizes is not worth one."""
        return Need.WEIGHT_SIZE not in self._needs()

    def _absorb(self, parts: Sequence[Part]) -> None:
        """Advance the averages of parts that do not move."""
        for part in parts:
            part.direction.absorb(part.gradients, part.states)

    def _is_safe(self, parts: Sequence[Part], ell: float) -> bool:
        """Whether an unmeasured step from a finite gradient other than zero cannot be refused."""
        # Two refusals are left: a direction of length zero, which one tensor other than zero excludes, and a state that
        # is not finite, which the last step has excluded.
        if not self._seen_finite:
            return False
        part = parts[0]
        sizes = [parameter.numel() for parameter in part.parameters]
        index = sizes.index(min(sizes))
        at = slice(index, index + 1)
        one = Part(part.group, part.direction, part.parameters[at], part.gradients[at], part.states[at])
        if isinstance(one.direction, Adam) and one.direction.cannot_vanish(one.gradients, one.states):
            return True
        (norm_sq,) = sums_to_host(squares(scaled(one, one.direction.propose(one.gradients, one.states).direction, ell)))
        return 0.0 < norm_sq < float("inf")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, whose states may not be finite."""
        super().__setstate__(state)
        self._seen_finite = False

    # ---------------------------------------------------------------------------------------------- one compiled step

    def compile(
        self, function: Callable[..., Tensor], *, backend: Backend = "inductor", options: dict[str, Any] | None = None
    ) -> CompiledStep:
        """Compile the whole step of a function of the batch: forward, backward, direction and measurement in one graph.

        The result is called with a batch. It takes the step of ``step(closure)``, for the closure that clears the
        gradients, calls ``function`` and ``backward`` and returns the loss; but ``p.grad`` is neither read nor written.
        ``last_step``, schedulers, ``state_dict``, ``averaged()`` and options edited between steps work as with
        ``step``.

        Args:
            function: Returns the mean loss of a batch as a tensor of one number. What changes from call to call must
                be an argument, except parameters, buffers and tensors that are written in place.
            backend: A name of ``torch.compile``, or a function of a graph and example inputs.
            options: Inductor's, as in ``torch.compile``.

        Returns:
            The step: called with a batch it returns the loss before the step, detached, of shape ().

        Cost:
            Tracing and compiling at the first call for each set of shapes and modes, seconds to a minute; a lazy rule
            has two graphs. After eight graphs, or where a graph cannot be made, one warning is given and the step runs
            uncompiled.

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
        Measure.of(options)
        self._direction(options)
        self._rule([*self.param_groups, options])

    def _initial_rule_state(self) -> dict[str, Any]:
        """Return the rule's state before the first step."""
        return dict(self._rule(self.param_groups).init())


def _begun(parts: Sequence[Part]) -> list[tuple[Tensor, dict[str, Any]]]:
    """Return the states that the optimizer does not hold yet."""
    return [
        (parameter, state)
        for part in parts
        if part.begins
        for parameter, state in zip(part.parameters, part.states, strict=True)
        if state
    ]


def _is_power_of_two(count: int) -> bool:
    """Whether the measurement with this number, from 1 on, is one that looks at the whole batch's slope."""
    return count & (count - 1) == 0
