"""Optimizers whose rule is told what windows of steps brought, by a measurement at the averaged parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim.optimizer import ParamsT

from curvestep._errors import CurvestepError, RecordingError
from curvestep._probe import Need
from curvestep._records import Outcome, StepRecord
from curvestep._shards import is_sharded
from curvestep._window import WindowReading
from curvestep.directions import Adam
from curvestep.directions._base import SECOND_MOMENT
from curvestep.engine import Memory, Tape, open_recorder
from curvestep.optim._average import AVERAGE, WINDOW_GROWTH, WINDOW_START, exchanged
from curvestep.optim._buffers import kept_buffers
from curvestep.optim._commit import RULE_STATE, STEPS
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._measure import read
from curvestep.optim._processes import is_shared
from curvestep.optim._reading import Measured, Way, measure, reading_of, sums_of
from curvestep.optim._recorded import LeftByScaler
from curvestep.optim._recordings import Recordings
from curvestep.optim._telemetry import OUTCOMES
from curvestep.optim._trial import losses_on_the_way, put_back
from curvestep.optim._window_names import GRADIENT, LOSS
from curvestep.steprules import RuleState, WindowRule

#: Name in every parameter group of the least length of a window.
WINDOW_OFFSET = "window_offset"

#: What a batch is asked for that judges the first steps.
_TRIAL = frozenset({Need.LOSS, Need.LINE})

_NO_BACKWARD = (
    "A window of steps has ended, and this batch is measured at the averaged parameters, which are in the model inside "
    "the recording alone: a backward pass inside it was needed, but none ran. Call loss.backward() inside "
    "'with optimizer.record():'."
)
_SHARED = (
    "{name} measures a batch at its averaged parameters at the end of each window of steps, and they are then in the "
    "model: a recording that no other optimizer shares was needed, but another one is open or was joined. Give each "
    "optimizer a recording of its own, or use RescaledAdam, which shares one."
)
_FORMER = (
    "{name} needs a state of its own kind, but a group of the one given has no {missing!r}: it was saved by another "
    "optimizer, or by a version of {name} whose step was measured otherwise, and says nothing about windows of steps. "
    "Load the model's parameters, and begin with a new optimizer."
)


class AbstractWindowedOptimizer(AbstractComposedOptimizer, ABC):
    """Base class of the optimizers whose rule is a `curvestep.steprules.WindowRule`.

    When the rule says that a window has ended, the batches of the next step (all its micro-batches) are recorded with
    the averaged parameters in the model: they are put there as the recording opens and taken out as it closes, after
    the measurement, and buffers that the forward wrote are put back. The step then tells the rule, and is taken from
    the iterate with the gradient at the averaged parameters.

    While the first window runs, its beginning x₀ is at hand: where the rule finds that the first steps were far too
    long, the parameters are put back to x₀ and the states are those before the first step.
    """

    _memory: Memory = "split"  # few steps are measured

    def __init__(self, params: ParamsT, options: dict[str, Any]) -> None:
        """Take the parameters and the options of a group, the average's and the windows' among them."""
        # One list, always: a wrapper such as Lightning's copies the attributes, and records through the copy.
        self._readings: list[Measured] = []
        #: What the last window brought; it does not affect the next step, and is not saved.
        self.last_window: WindowReading | None = None
        super().__init__(params, options)

    @abstractmethod
    def _rule(self, groups: Sequence[dict[str, Any]]) -> WindowRule:
        """Return the rule."""

    def _gradient_variances(self, parameters: Sequence[Tensor]) -> list[Tensor | None]:
        """Return for each parameter an estimate of the variance of its gradient's entries, where Adam keeps one."""
        found = {p: direction for group in self.param_groups for p, direction in self._adam_of(group)}
        return [found[p].variances([self.state[p]])[0] if p in found else None for p in parameters]

    def _adam_of(self, group: dict[str, Any]) -> list[tuple[Tensor, Adam]]:
        """Return the parameters of a group whose averages there are, with their direction."""
        direction = self._direction(group)
        if not isinstance(direction, Adam):
            return []
        return [(p, direction) for p in group["params"] if SECOND_MOMENT in self.state.get(p, ())]

    # ------------------------------------------------------------------------------------------------ a window's end

    def _window_rule(self) -> WindowRule:
        """Return the rule, as what `_rule` has made it."""
        return cast("WindowRule", self._current_rule())

    def _ends_window(self) -> bool:
        """Whether the next batch is measured at the averaged parameters."""
        return self._ends(self._window_rule(), self._rule_state())

    def _ends(self, rule: WindowRule, state: RuleState) -> bool:
        """Whether it is, for a rule and a state that are at hand."""
        return rule.ends_window(state) and any(AVERAGE in held for held in self.state.values())

    def _needs(self) -> frozenset[Need]:
        """Return what the next step measures."""
        rule, state = self._window_rule(), self._rule_state()
        if self._ends(rule, state):
            return frozenset({Need.CURVATURE})
        needs = rule.needs_at(state)
        return needs | _TRIAL if rule.trial(state) else needs

    def _is_compilable(self) -> bool:
        """Whether the next step is one that a graph may take: not where more than the step is measured."""
        rule, state = self._window_rule(), self._rule_state()
        return not (self._ends(rule, state) or rule.trial(state)) and super()._is_compilable()

    @contextmanager
    def record(
        self,
        batch_size: int | None = None,
        *,
        samples: Tensor | None = None,
        memory: Memory | float | None = None,
        scaler: GradScaler | None = None,
    ) -> Iterator[Tape]:
        """Record the forward and the backward pass inside the ``with`` block, for the next ``step()``.

        As with the other optimizers; but when a window of steps has ended, the parameters inside the block are the
        averaged ones. They are measured as the block closes, and what was there before is put back, bit for bit:
        parameters, and the buffers that the forward wrote (running statistics of batch normalisation, say). Backward
        must then run inside the block, the tape is released at its end, and no other optimizer may share it.

        Args:
            batch_size: The number of samples, where it cannot be read off the data; as in ``curvestep.record``.
            samples: Which sample each row of the data belongs to; as in ``curvestep.record``.
            memory: What is held for the measurement, as in ``curvestep.record``; None for "split".
            scaler: The GradScaler of the loop, where gradients are unscaled before the step.

        Yields:
            The tape, as ``curvestep.record()`` gives it.

        Raises:
            RecordingError: Another optimizer shares the recording; or a window has ended and no backward ran in the
                block, or the parameters are sharded and the loss cannot be computed again at others.
        """
        options: dict[str, Any] = {"samples": samples, "memory": memory, "scaler": scaler}
        if open_recorder() is not None:  # at once, not at the first window's end
            raise RecordingError(_SHARED.format(name=type(self).__name__))
        if not self._ends_window():
            with super().record(batch_size, **options) as tape:
                yield tape
            if tape.recording.holders > 1:
                self._drop_recordings()
                raise RecordingError(_SHARED.format(name=type(self).__name__))
            return
        self._refuse_averaged()
        way = Way.of(self._parameters(), self.state)
        with exchanged(self._parameters(), self.state), kept_buffers():
            with super().record(batch_size, **options) as tape:
                # p.grad is not what is stepped with: the tape compares itself with what its own backward left.
                tape.recording.proves = not any(is_sharded(p) for p in way.parameters)
                yield tape
            self._pending.tapes.clear()
            try:
                if tape.recording.holders > 1:
                    raise RecordingError(_SHARED.format(name=type(self).__name__))
                if tape.backwards > 0:
                    tape.require_backward()
                    with torch.no_grad():
                        self._readings.append(measure(tape, way, self._window_rule().window_needs))
                elif not self._in_closure:
                    raise RecordingError(_NO_BACKWARD)
            finally:
                tape.release()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take the step of the recorded mini-batch; where a window has ended, tell the rule what it brought before.

        Args:
            closure: As with the other optimizers; where a window has ended it runs at the averaged parameters.

        Returns:
            What the closure returned, or else the recorded loss, where one was recorded.

        Raises:
            RecordingError: Nothing was recorded, or not exactly one backward pass.
            CurvestepError: A gradient is sparse, or a GradScaler is used in a way that hides its scale.

        Cost:
            That of the other optimizers; at a window's end what `docs/long.md` says.
        """
        if not self._ends_window() or (closure is None and not self._readings):
            return super().step(closure)
        with torch.no_grad(), LeftByScaler(self):
            scale, is_unscaled = self._loss_scale(closure)
            returned: Any = None
            if closure is not None:
                self._in_closure = True
                try:
                    with torch.enable_grad(), self.record():
                        returned = closure()
                finally:
                    self._in_closure = False
            self._refuse_averaged()
            former = self.param_groups[0][OUTCOMES]
            measured = list(self._readings)
            self._readings.clear()
            self._pending.take()
            if not measured:
                if returned is not None or self._has_gradient():
                    raise RecordingError(_NO_BACKWARD)
                self._report(self._stopped(Outcome.ZERO_GRADIENT, self._ell(), None), former)
                return None  # Lightning's closure, where training_step returned None
            stopped, loss = self._close_window(measured, scale)
            taken = self._step_on(scale, is_unscaled) if stopped is None else stopped
            self._report(taken, former)
            self._watch(taken)
            return loss if returned is None else returned

    def _close_window(self, measured: list[Measured], scale: Tensor | None) -> tuple[StepRecord | None, Tensor]:
        """Tell the rule what the window brought and begin the next one, or say why not; and return the loss."""
        rule, state, group = self._window_rule(), self._rule_state(), self.process_group
        parameters = self._parameters()
        way = Way.of(parameters, self.state)
        decays = {p: float(g["weight_decay"]) for g in self.param_groups for p in g["params"] if g.get("weight_decay")}
        variances = self._gradient_variances(way.parameters)
        sums = sums_of(measured, way, self.param_groups, variances, decays, scale, group)
        numbers = read(sums, group, any(is_sharded(p) for p in parameters))
        loss = (
            measured[0].numbers[LOSS] if len(measured) == 1 else torch.stack([m.numbers[LOSS] for m in measured]).sum()
        )
        loss = loss if scale is None else loss / scale
        count = dist.get_world_size(None if group == "default" else group) if is_shared(group) else 1
        reading = reading_of(numbers, rule.window(state), count, max([m.resolution for m in measured]))
        if (again := rule.judge_window(reading, state)) is not None:
            self.last_window = reading
            return self._begin_again(again, reading.loss), loss
        for name, outcome in ((LOSS, Outcome.NON_FINITE_LOSS), (GRADIENT, Outcome.NON_FINITE_GRADIENT)):
            if not math.isfinite(numbers[name]):
                return self._stopped(outcome, self._ell(), numbers[LOSS]), loss
        self._begin_window(rule.learn(reading, state))
        self.last_window = reading
        return None, loss

    def _step_on(self, scale: Tensor | None, is_unscaled: bool) -> StepRecord:
        """Take the step of the next window with the gradient that the measured batch left, that at x̄."""
        recordings = Recordings([], scale)
        recordings.is_unscaled = is_unscaled
        taken = self._take(recordings)
        loss = None if self.last_window is None else self.last_window.loss
        return replace(taken, loss=loss, outcome=Outcome.WINDOW_ENDED if taken.outcome.moved else taken.outcome)

    def _begin_window(self, state: RuleState) -> None:
        """Write the rule's state, and x̄' ← x̄."""
        for group in self.param_groups:
            group[RULE_STATE] = dict(state)
        for held in self.state.values():
            if WINDOW_START in held:
                held[WINDOW_START].copy_(held[AVERAGE])

    # -------------------------------------------------------------------------------------------------- the trial

    def _take(self, recordings: Recordings) -> StepRecord:
        """Take a step; but where the rule finds that the steps so far were far too long, take them back."""
        rule, state = self._window_rule(), self._rule_state()
        points = rule.trial(state) if recordings.tapes else ()
        if points:
            loss, *along = losses_on_the_way(recordings, self.param_groups, self.state, points, self.process_group)
            if (again := rule.judge(loss, along, state)) is not None:
                return self._begin_again(again, loss)
        return super()._take(recordings)

    def _begin_again(self, state: RuleState, loss: float) -> StepRecord:
        """Put the parameters back to x₀, with the states before the first step, and say so."""
        owned = [(g, p) for g in self.param_groups for p in g["params"] if WINDOW_START in self.state.get(p, ())]
        put_back([p for _, p in owned], self.state)
        for group, parameter in owned:
            self.state[parameter] = self._first_state(group, parameter)
        for group in self.param_groups:
            group[RULE_STATE], group[STEPS] = dict(state), 0
        self._seen_finite = False
        return self._stopped(Outcome.TAKEN_BACK, self._ell(), loss)

    # ---------------------------------------------------------------------------------------------------- state

    def _first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return the state of a parameter before its first step."""
        first = super()._first_state(group, parameter)
        return {**first, WINDOW_START: first[AVERAGE].clone()} if AVERAGE in first else first

    def _drop_recordings(self) -> None:
        """Free the recordings, and forget the measurements, that were not used."""
        super()._drop_recordings()
        self._readings.clear()

    def _require_own_kind(self, state_dict: dict[str, Any]) -> None:
        """Refuse the state of an optimizer whose rule knows no windows."""
        super()._require_own_kind(state_dict)
        self._require_windows(state_dict["param_groups"])

    def _require_windows(self, groups: Sequence[dict[str, Any]]) -> None:
        """Refuse groups whose rule has a state without the numbers of this one."""
        for group in groups:
            missing = [name for name in (WINDOW_GROWTH, WINDOW_OFFSET) if name not in group]
            missing = missing or sorted(self._initial_rule_state().keys() - group.get(RULE_STATE, {}).keys())
            if missing:
                raise CurvestepError(_FORMER.format(name=type(self).__name__, missing=missing[0]))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, with nothing recorded."""
        super().__setstate__(state)
        self._require_windows(self.param_groups)
        vars(self).setdefault("_readings", [])
        vars(self).setdefault("last_window", None)
