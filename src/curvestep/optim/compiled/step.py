"""The compiled step: finds or makes the graph that fits a call, runs it, and carries the step out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from curvestep._probe import Need
from curvestep._records import StepRecord
from curvestep._warn import warn
from curvestep.directions import STEP
from curvestep.optim._commit import Move, advance, kept_by_decay, move
from curvestep.optim._decide import decide, probe_of, record_of, refusal
from curvestep.optim._options import Measure
from curvestep.optim._telemetry import OUTCOMES
from curvestep.optim.compiled.backend import Backend, Compiled, compile_graph
from curvestep.optim.compiled.compilable import Compilable
from curvestep.optim.compiled.guards import Batch, Function, autocast_key
from curvestep.optim.compiled.plan import GroupPlan, Numbers, plan_groups
from curvestep.optim.compiled.refusal import NotCompiled
from curvestep.optim.compiled.trace import MEASURED, Traced, trace
from curvestep.steprules import StepRule

#: The most graphs for one function, as in torch.compile.
MOST_GRAPHS = 8

#: Needs that one graph cannot measure, because what is measured depends on earlier measurements.
_ALONG_A_LINE = frozenset({Need.LINE, Need.LAST_STEP})


@final
@dataclass(frozen=True)
class Program:
    """A compiled graph and what it was traced for."""

    traced: Traced
    run: Compiled


@final
class CompiledStep:
    """What `optimizer.compile` returns: a whole step as a function of the batch.

    Attributes:
        compilations: how many graphs were made.
        fallback: why the step runs uncompiled; None while it does not.
    """

    def __init__(
        self,
        optimizer: Compilable,
        function: Function,
        backend: Backend = "inductor",
        options: dict[str, Any] | None = None,
    ) -> None:
        self.compilations = 0
        self.fallback: str | None = None
        self._optimizer = optimizer
        self._function = function
        self._backend = backend
        self._options = options
        self._programs: dict[Any, list[Program]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take a step on a batch.

        Args:
            *args: Handed to the function.
            **kwargs: Handed to the function.

        Returns:
            The loss before the step as a detached tensor of shape (), without the L2 term.
        """
        optimizer = self._optimizer
        optimizer._refuse_averaged()
        optimizer._drop_recordings()
        ell = optimizer._ell()
        # ℓ = 0 is the first step of a warm-up: not worth a graph
        if self.fallback is None and ell > 0.0 and optimizer._is_compilable():
            try:
                return self._compiled(ell, args, kwargs)
            except NotCompiled as why:
                reason = str(why)
        else:
            reason = None
        loss = self._uncompiled(args, kwargs)
        if reason is not None and self.fallback is None:  # said after the step: an error of the function comes first
            self.fallback = reason
            warn(_sentence(type(optimizer).__name__, reason))
        return loss

    # ------------------------------------------------------------------------------------------------ with a graph

    @torch.no_grad()
    def _compiled(self, ell: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Take the step with the graph that fits, or with a new one."""
        optimizer = self._optimizer
        rule, rule_state = optimizer._current_rule(), optimizer._rule_state()
        self._require_compilable(rule)
        batch = Batch.of(args, kwargs)
        plans = plan_groups(optimizer, ell)
        how = optimizer._measure()
        numbers = Numbers(plans, optimizer.param_groups, ell, how)
        # A norm that is read once is not worth a graph of its own.
        needs = (rule.needs_at(rule_state) & MEASURED) | (rule.needs & {Need.PARAMETER_NORM})
        program = self._program(batch, plans, numbers, needs, replace(how, part=0))  # one graph serves all parts
        scalars, loss, *outputs = program.run(*_inputs(batch, plans, numbers, program.traced))
        former = optimizer.param_groups[0][OUTCOMES]
        optimizer._report(self._take(program.traced, rule, rule_state, ell, scalars.tolist(), outputs), former)
        vars(optimizer)["_opt_called"] = True  # by which torch's schedulers see that a step preceded theirs
        return loss

    def _program(
        self, batch: Batch, plans: Sequence[GroupPlan], numbers: Numbers, needs: frozenset[Need], how: Measure
    ) -> Program:
        """Find the graph that was traced for these arguments, options and modules, or make it."""
        key = (batch.key, tuple([plan.key for plan in plans]), needs, how, autocast_key())
        try:
            found = self._programs.setdefault(key, [])
        except TypeError as why:
            raise NotCompiled(f"an argument cannot be told from another one ({why})") from why
        for program in found:
            if program.traced.guards.hold():
                return program
        if self.compilations >= MOST_GRAPHS:
            raise NotCompiled(
                f"{MOST_GRAPHS} graphs were made already, and this call needs another one: shapes, plain values among "
                "the arguments, options of a group or modes of a module change too often"
            )
        program = self._made(batch, plans, numbers, needs, how)
        found.append(program)
        self.compilations += 1
        return program

    def _made(
        self, batch: Batch, plans: Sequence[GroupPlan], numbers: Numbers, needs: frozenset[Need], how: Measure
    ) -> Program:
        """Trace and compile."""
        if how.precision == "tf32":
            raise NotCompiled(
                "curvature_precision='tf32' is a setting of torch while a pass runs, which no graph holds"
            )
        try:
            traced = trace(self._function, batch, plans, numbers, needs, how)
        except NotCompiled:
            raise
        except Exception as why:  # anything that the function, autograd or the tracer raise on tensors without data
            raise NotCompiled(f"tracing it failed with {type(why).__name__}: {_first_line(why)}") from why
        inputs = _inputs(batch, plans, numbers, traced)
        try:
            run = compile_graph(traced.graph, inputs, self._backend, self._options)
        except Exception as why:  # no C++ compiler, an operation that the backend lacks, …
            raise NotCompiled(f"the backend failed with {type(why).__name__}: {_first_line(why)}") from why
        return Program(traced, run)

    def _take(
        self, traced: Traced, rule: StepRule, rule_state: dict[str, Any], ell: float, scalars: list[float],
        outputs: list[Tensor],
    ) -> StepRecord:  # fmt: skip
        """Decide on the measured scalars and take the step; a refused one changes nothing."""
        optimizer = self._optimizer
        numbers = dict(zip(traced.names, scalars, strict=True))
        outcome = refusal(numbers)
        if outcome is not None:
            return optimizer._stopped(outcome, ell, numbers["loss"])
        probe = probe_of(numbers)
        parameters = [p for part in traced.parts if part.plan.moves for p in part.parameters]
        largest = min(torch.finfo(dtype).max for dtype in {p.dtype for p in parameters})
        choice = decide(rule, rule.needs_at(rule_state), probe, ell, rule_state, largest)
        given = iter(outputs)
        moves: list[Move] = []
        following: list[tuple[Tensor, dict[str, Any]]] = []
        for part in traced.parts:
            if part.plan.moves:
                group = optimizer.param_groups[part.plan.index]
                kept = kept_by_decay(group.get("decoupled_weight_decay", 0.0), float(group["lr"]) * choice.rescaling)
                direction = [next(given) for _ in part.members]
                moves.append(Move(part.parameters, direction, ell * choice.rescaling, kept))
            for i, parameter in zip(part.members, part.parameters, strict=True):
                new = {name: next(given) for name in part.plan.states[i]}
                if part.has_state:
                    state = optimizer.state.get(parameter, {})
                    following.append((parameter, {**state, STEP: state.get(STEP, 0) + 1, **new}))
        steps = optimizer._steps()
        if choice.advances:
            steps = advance(
                optimizer.state, optimizer.param_groups, following, choice.state, measured=probe.curvature is not None
            )
        if choice.outcome.moved:
            move(optimizer.state, optimizer.param_groups, moves, steps)
        return record_of(probe, choice, ell, steps)

    # --------------------------------------------------------------------------------------------- without a graph

    def _require_compilable(self, rule: StepRule) -> None:
        """Refuse what is known beforehand to need more than one graph, or a gradient in p.grad."""
        optimizer = self._optimizer
        if rule.needs & _ALONG_A_LINE:
            raise NotCompiled("its step rule looks at the loss further along the line, where it goes by what it finds")
        if _hooked(optimizer):
            raise NotCompiled("hooks are registered that expect gradients in p.grad, and a compiled step makes none")
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise NotCompiled("several processes train together, and their gradients meet on the way to p.grad")

    def _uncompiled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Take the step as `step(closure)` does, and restore every p.grad."""
        optimizer = self._optimizer
        parameters = optimizer._parameters()
        former = [p.grad for p in parameters]

        def closure() -> Tensor:
            for p in parameters:
                p.grad = None
            loss = self._function(*args, **kwargs)
            loss.backward()
            return loss

        try:
            loss: Tensor = optimizer.step(closure)
        finally:
            for p, gradient in zip(parameters, former, strict=True):
                p.grad = gradient
        return loss.detach().reshape(())


def _hooked(optimizer: Compilable) -> bool:
    """Whether something waits for the optimizer's step, or for gradients to arrive in p.grad."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or any([p._post_accumulate_grad_hooks or p._backward_hooks for p in optimizer._parameters()])
    )


def _inputs(batch: Batch, plans: Sequence[GroupPlan], numbers: Numbers, traced: Traced) -> list[Tensor]:
    """Return what a graph is called with, in its order."""
    inputs = list(batch.tensors)
    for plan in plans:
        for state in plan.states:
            inputs += state.values()
    if numbers.tensor is not None:
        inputs.append(numbers.tensor)
    return inputs + traced.captured


def _first_line(why: Exception) -> str:
    return (str(why).strip().splitlines() or ["no reason given"])[0]


def _sentence(name: str, reason: str) -> str:
    return (
        f"The compiled step of {name} runs uncompiled, with the same results: {reason}. "
        "docs/compiled.md says what can be compiled; optimizer.step(closure) takes the same steps without this message."
    )
