"""What every optimizer of the library shares: the recordings, and one step on them."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim.optimizer import ParamsT

from curvestep._errors import CurvestepError
from curvestep._records import Outcome, StepRecord
from curvestep._shards import any_sharded
from curvestep._warn import warn
from curvestep.engine import Memory, Tape, join, open_recorder, record
from curvestep.engine.data.recording import Recording
from curvestep.optim._average import AVERAGE, AVERAGING, exchanged, starts
from curvestep.optim._groups import AbstractGroupedOptimizer
from curvestep.optim._processes import Group, is_shared
from curvestep.optim._proof import Versions, versions_of
from curvestep.optim._recordings import Pending, Recordings, returned_loss
from curvestep.optim._runaway import drift, sentence
from curvestep.optim._telemetry import OUTCOMES
from curvestep.optim._watch import Watch


class AbstractRecordedOptimizer(AbstractGroupedOptimizer, ABC):
    """Base class of optimizers whose step reads a recorded forward and backward pass.

    A subclass defines in ``_take`` what a step does with the recordings; a refused step changes nothing. Where
    ``_needs_tape`` is false, a closure runs unrecorded.
    """

    #: What a recording holds by default.
    _memory: Memory = "keep"

    #: The processes that train one model and share its gradients, as under DistributedDataParallel: the losses and
    #: curvatures that they measure are averaged. None where each process trains a model of its own.
    process_group: Group = "default"

    def __init__(self, params: ParamsT, options: dict[str, Any]) -> None:
        """Take the parameters and the options of a group, ``lr`` among them."""
        self._pending = Pending()
        self._recorded: Recording | None = None
        self._in_closure = False
        self._adrift = 0.0
        self.last_step: StepRecord | None = None
        super().__init__(params, options)

    @abstractmethod
    def _take(self, recordings: Recordings) -> StepRecord:
        """Carry out one step after the backward passes, and say what was done.

        Args:
            recordings: The loss whose gradient is in ``p.grad``. Without a tape only where ``_needs_tape`` is false,
                without a loss only where ``_needs_loss`` is.
        """

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Read by ``torch.amp.GradScaler``: it then leaves the gradients scaled and hands over ``self.grad_scale``.

        Inside a closure no scaler asks, but Lightning does, which refuses to clip where this is true.
        """
        return not self._in_closure

    @property
    def _needs_tape(self) -> bool:
        """Whether a step measures anything on the recording; if not, a closure is not recorded."""
        return True

    @property
    def _records(self) -> bool:
        """Whether some of its steps read a recording; if none does, ``step()`` needs no ``record()`` before it."""
        return True

    @property
    def _needs_loss(self) -> bool:
        """Whether a step reads the loss; if not, and no tape is needed either, ``record()`` records nothing."""
        return True

    # ------------------------------------------------------------------------------------------------ recording

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

        Optimizers of one loss, each with parameters of its own, share a recording: ``with a.record(), b.record():``.
        Each then measures along its own direction at the recorded point, whichever steps first. The outermost says
        what is held, by ``memory`` or as the first of them that measures.

        Recordings since the last step add up, as gradients do: with one around the forward and backward of each
        micro-batch, the step measures the loss of them all. ``zero_grad()`` drops those that were not used. Before a
        step that measures nothing (a lazy rule between two measurements) nothing is recorded: the tape is then an
        empty, released one.

        Args:
            batch_size: The number of samples, where it cannot be read off the data; as in ``curvestep.record``.
            samples: Which sample each row of the data belongs to; as in ``curvestep.record``.
            memory: What is held for the measurement, "keep", "split" or a share, as in ``curvestep.record``; None for
                what suits the step: "split" for ``Auto``, which measures rarely, and where nothing is measured on the
                tape (``ALIG``), else "keep". With ``fully_shard`` it is "split" always.
            scaler: The GradScaler whose factor is on the recorded loss, where ``scaler.unscale_(optimizer)`` is called
                before the step, for clipping say; without that call the step finds the factor by itself.

        Yields:
            The tape, as ``curvestep.record()`` gives it.
        """
        self._refuse_averaged()
        parameters = self._parameters()
        versions = versions_of(parameters)
        if not any(versions) and not any_sharded(parameters):
            self._drop_recordings()  # their gradients are gone
        if scaler is not None and scaler.is_enabled():  # without asking the device what the factor is
            self._pending.scale = scaler.scale(torch.ones((), device=parameters[0].device))
        measures = self._needs_tape
        with self._watched(parameters, versions):
            if not measures and not self._needs_loss:
                tape = Tape()
                tape.release()
                yield tape
                self._pending.unrecorded = True
                return
            spares = memory is None and not measures  # a tape that only has the loss to tell
            memory = ("split" if spares else self._memory) if memory is None else memory
            shared = self._joined(batch_size) if samples is None else None
            with shared or record(batch_size, samples=samples, memory=memory) as tape:
                tape.recording.spared = tape.recording.spared if shared else spares
                self._recorded = tape.recording
                tape.recording.proves = False  # the step compares with p.grad itself
                tape.recording.waiting[id(tape)] = id(self), parameters
                try:
                    yield tape
                except BaseException:
                    tape.release()
                    raise
                finally:
                    self._recorded = None
            self._pending.tapes.append(tape)

    def _watched(self, parameters: list[Tensor], before: Versions) -> Watch:
        """Note the gradients as a backward inside the block leaves them."""
        pending = self._pending
        is_first = self._records and not (pending.tapes or pending.unrecorded)
        return Watch(pending, parameters, before, is_first=is_first, at_end=is_shared(self.process_group))

    def _joined(self, batch_size: int | None) -> AbstractContextManager[Tape] | None:
        """Return the recording of another optimizer that is open in this thread; None where none is."""
        recorder = open_recorder()
        if recorder is None or recorder.recording is self._recorded:
            return None  # one within its own is refused
        tape = join(batch_size, measures=self._needs_tape and self._memory == "keep")
        return None if tape is None else nullcontext(tape)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as in ``torch.optim``, and drop the recordings that they came from.

        Args:
            set_to_none: Whether to set gradients to None rather than to zero.
        """
        self._drop_recordings()
        if not set_to_none or torch.autograd._profiler_enabled():  # which is shown the call by its name
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Choose the step size for the recorded mini-batch and take the step.

        Args:
            closure: Clears the gradients, computes the loss, calls ``backward`` on it and returns it. It is called
                once. Without it the last ``record()`` is used.

        Returns:
            What the closure returned, or else the recorded loss as a 0-d tensor; without the L2 term. None where there
            is no closure and the step needs no recording, or every lr and gradient is zero: the states that are missing
            are then made, as torch.distributed.checkpoint wants it.

        Raises:
            RecordingError: Nothing was recorded, or not exactly one backward pass.
            CurvestepError: A gradient is sparse, or a GradScaler is used in a way that hides its scale.

        Cost:
            Where something is measured, what the rule's measurements cost on the recording (a tangent pass for the
            curvature), and copies of the direction's averages until the step is known to go ahead. Elsewhere the
            averages are written in place on the CPU: the gradient is read once to see that it is finite, then it and
            the averages once, the direction twice. Always a tensor the size of the parameters for the direction, and
            one host synchronisation on a device; losses along a line add their own.
        """
        with torch.no_grad(), LeftByScaler(self):
            scale, is_unscaled = self._loss_scale(closure)
            returned: Any = None
            if closure is not None:  # Lightning records before the step and passes a closure that does nothing
                parameters = self._parameters()
                watched = self.record() if self._needs_tape else self._watched(parameters, versions_of(parameters))
                self._in_closure = True
                try:
                    with torch.enable_grad(), watched:
                        returned = closure()
                finally:
                    self._in_closure = False
            self._refuse_averaged()
            former = self.param_groups[0][OUTCOMES]
            if closure is not None and returned is None and not self._has_gradient():
                self._drop_recordings()  # Lightning's closure, where training_step returned None
                self._report(self._stopped(Outcome.ZERO_GRADIENT, self._ell(), None), former)
                return None
            tapes, unrecorded, left = self._pending.take()
            if self._records and not (tapes or unrecorded or closure is not None):
                if self._is_still():
                    self._begin()
                    return None
                self._pending.refuse_nothing()
            # A closure that returns no loss must be treated alike on all steps, measured or not.
            reads = closure is not None and not tapes and (returned is not None or self._needs_loss)
            recordings = Recordings(tapes, scale, returned_loss(returned) if reads else None, left)
            recordings.is_unscaled = is_unscaled
            recordings.is_changed = left is not None and left.is_changed(self._parameters())
            try:
                recordings.require_backward()
                loss = recordings.loss
                taken = self._take(recordings)
            finally:
                recordings.release()
            self._report(taken, former)
            self._watch(taken)
            return loss if returned is None else returned

    def _is_still(self) -> bool:
        """Whether every ``lr`` and every gradient is zero, as torch.distributed.checkpoint has them to make states."""
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        stands = all(float(group["lr"]) == 0.0 for group in self.param_groups)
        return stands and bool(gradients) and not any(bool(gradient.any()) for gradient in gradients)

    def _begin(self) -> None:
        """Enter the states that a first step would, as they are before it, where there are none yet."""
        for group in self.param_groups:
            for parameter in group["params"]:
                first = self._first_state(group, parameter) if parameter.requires_grad else {}
                if first:
                    self.state[parameter] = {**first, **self.state.get(parameter, {})}

    def _first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return the state of a parameter before its first step."""
        if group.get(AVERAGING) is None:
            return {}
        return {AVERAGE: starts([parameter], {})[parameter]}

    def _watch(self, step: StepRecord) -> None:
        """Warn once where a run has run away, or where no step can be taken any more."""
        self._adrift = drift(self._adrift, step, float(self._rule_state().get("reach", math.inf)))
        if self._adrift >= 1.0:
            self._adrift = -math.inf  # one warning a run
            warn(f"{type(self).__name__} {sentence(step)}")

    # ------------------------------------------------------------------------------------------ averaged weights

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model its averaged parameters inside the ``with`` block, for evaluation and saving.

        With the option ``averaging`` = γ the optimizer keeps x̄_k = (1 − w_k) x̄_{k−1} + w_k θ_k, w_k = (γ+1)/(k+γ), over
        the steps that moved the parameters. Inside the block θ is x̄; after it θ is restored, bit for bit. Buffers
        stay: running statistics of batch normalisation belong to other weights, and
        ``curvestep.nn.refresh_batch_norm(model, batches)`` inside the block measures them anew.

        Raises:
            CurvestepError: The optimizer keeps no average, or a step is taken inside the block.

        Cost:
            A copy of the parameters while the block lasts.

        Example:
            >>> import torch, curvestep
            >>> theta, samples = torch.tensor([3.0, 4.0], requires_grad=True), torch.zeros(8, 2)
            >>> optimizer = curvestep.Auto([theta])
            >>> for _ in range(3):
            ...     with optimizer.record():
            ...         ((theta - samples) ** 2).mean().backward()
            ...     _ = optimizer.step()
            ...     optimizer.zero_grad()
            >>> last = theta.clone()
            >>> with optimizer.averaged():
            ...     between = bool((theta > last).all())  # the average lags behind
            >>> between, torch.equal(theta, last)
            (True, True)
        """
        if self.param_groups[0].get(AVERAGING) is None:
            msg = f"This {type(self).__name__} keeps no averaged weights: make it with averaging=8.0, or use Auto."
            raise CurvestepError(msg)
        self._refuse_averaged()
        with exchanged(self._parameters(), self.state):
            self._pending.is_averaged = True
            try:
                yield
            finally:
                self._pending.is_averaged = False

    def averaged_state_dict(self, model: torch.nn.Module) -> dict[str, Any]:
        """Return ``model.state_dict()`` with averaged parameters: a copy, to save or to load into another model.

        Args:
            model: The model whose parameters are optimized; its buffers are taken as they are.

        Raises:
            CurvestepError: The optimizer keeps no average.
        """
        with self.averaged():
            return copy.deepcopy(model.state_dict())

    def _refuse_averaged(self) -> None:
        """Refuse to train the averaged parameters."""
        if self._pending.is_averaged:
            msg = (
                "The parameters are the averaged ones inside 'with optimizer.averaged()': evaluate there, and record "
                "and step outside of it."
            )
            raise CurvestepError(msg)

    def _stopped(self, outcome: Outcome, ell: float, loss: float | None) -> StepRecord:
        """Return the record of a step that ended before anything was measured along a direction."""
        return StepRecord(loss, None, None, None, None, None, ell, 0.0, None, outcome, self._steps())

    def _drop_recordings(self) -> None:
        """Free the recordings that were not used."""
        for tape in self._pending.take()[0]:
            tape.release()

    def _loss_scale(self, closure: Callable[[], Any] | None) -> tuple[Tensor | None, bool]:
        """Return a GradScaler's factor on the recorded loss, and whether the gradients are rid of it already."""
        noted, self._pending.scale = self._pending.scale, None
        if not hasattr(self, "found_inf"):  # set by GradScaler.step on the optimizer for the time of the call
            return noted, noted is not None
        if closure is not None:
            msg = (
                "GradScaler.step was given a closure, whose gradients would be scaled after the scaler has looked for "
                "infinities. Record the scaled backward instead: 'with optimizer.record(): loss = …; "
                "scaler.scale(loss).backward()', then 'scaler.step(optimizer)'."
            )
            raise CurvestepError(msg)
        scale: Tensor | None = getattr(self, "grad_scale", None)
        if scale is not None or noted is not None:
            return (noted, True) if scale is None else (scale, False)
        self._drop_recordings()
        msg = (
            "The recorded loss carries the GradScaler's factor, but scaler.unscale_(optimizer) has removed it from the "
            "gradients and the optimizer is not told what it was. Say it when you record: "
            "'with optimizer.record(scaler=scaler):'; or leave unscale_ out (the optimizer unscales by itself)."
        )
        raise CurvestepError(msg)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, with nothing recorded."""
        super().__setstate__(state)
        for name, value in (
            ("_pending", Pending()),
            ("_recorded", None),
            ("_in_closure", False),
            ("_adrift", 0.0),
        ):
            vars(self).setdefault(name, value)
        vars(self).setdefault("last_step", None)


@final
class LeftByScaler:
    """Takes off what ``GradScaler.step`` set where a step is refused: it would multiply the next factor by it."""

    __slots__ = ("_optimizer",)

    def __init__(self, optimizer: AbstractRecordedOptimizer) -> None:
        self._optimizer = optimizer

    def __enter__(self) -> None:
        """Nothing is taken off yet."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for name in ("found_inf", "grad_scale"):
                vars(self._optimizer).pop(name, None)
