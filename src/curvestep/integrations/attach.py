"""Recordings that open with a model's forward and close with its backward, so that the loop needs no line for them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, final

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from curvestep._errors import CurvestepError
from curvestep.engine import open_recorder
from curvestep.optim import AbstractRecordedOptimizer


@final
class Attachment:
    """What opens and closes the recordings of one model for one optimizer; `remove()` ends it."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: AbstractRecordedOptimizer,
        batch_size: int | None,
        scaler: GradScaler | None,
    ) -> None:
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._scaler = scaler
        self._open: AbstractContextManager[Any] | None = None
        self._before_forward = model.register_forward_pre_hook(self._enter)
        self._before_step = optimizer.register_step_pre_hook(lambda *_: self.close())

    def remove(self) -> None:
        """Take the hooks off model and optimizer."""
        self.close()
        self._before_forward.remove()
        self._before_step.remove()

    def close(self) -> None:
        """Close the recording that is open: backward has ended, or the step begins."""
        block, self._open = self._open, None
        if block is not None:
            block.__exit__(None, None, None)

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        """Open a recording before a forward that is trained on."""
        del inputs
        if not (module.training and torch.is_grad_enabled()):
            return
        if open_recorder() is not None:
            return  # of the user, or ours: a second forward of the same loss
        self.close()
        self._open = self._optimizer.record(self._batch_size, scaler=self._scaler)
        self._open.__enter__()
        recorder = open_recorder()
        if recorder is not None:  # None on a step that measures nothing
            recorder.after_backward = self.close


def attach(
    model: nn.Module, optimizer: Any, *, batch_size: int | None = None, scaler: GradScaler | None = None
) -> Attachment:
    """Record a model's training steps for its optimizer, in a loop that has no place for ``optimizer.record()``.

    A recording opens before each forward of ``model`` in training mode with gradients enabled, and closes when the
    backward pass after it has ended; ``optimizer.step()`` then uses it, and with gradient accumulation all of them. In
    evaluation, under ``torch.no_grad()``, inside a recording of the user's own and in a closure that ``step`` records
    nothing happens.

    Args:
        model: The module whose forward begins what the loss is computed from: the outermost one, or the one that a
            trainer wraps.
        optimizer: One of curvestep's, or a wrapper that holds it as ``.optimizer``, as Accelerate's does.
        batch_size: The number of samples of a batch, where it cannot be read off the data; as in ``curvestep.record``.
        scaler: The GradScaler of the loop, where gradients are unscaled and clipped before the step; read off a wrapper
            that holds one as ``.scaler``, as Accelerate's does.

    Returns:
        The attachment, with ``remove()``.

    Raises:
        CurvestepError: The optimizer is none that records.

    Cost:
        That of ``optimizer.record()``: nothing on a step that measures nothing.

    Example:
        The loop of every PyTorch program, and the step to the mean of the batch:

        >>> import torch, curvestep
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> torch.nn.init.zeros_(model.weight).item()
        0.0
        >>> optimizer = curvestep.RescaledSGD(model.parameters(), lr=0.5)
        >>> attachment = curvestep.attach(model, optimizer)
        >>> loss = (0.5 * (model(torch.ones(3, 1)) - torch.tensor([[1.0], [2.0], [6.0]])) ** 2).mean()
        >>> loss.backward()
        >>> _ = optimizer.step()
        >>> round(model.weight.item(), 6)
        3.0
    """
    while not isinstance(optimizer, AbstractRecordedOptimizer) and hasattr(optimizer, "optimizer"):
        scaler = scaler or getattr(optimizer, "scaler", None)
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, AbstractRecordedOptimizer):
        msg = (
            "attach needs one of curvestep's optimizers, or a wrapper that holds one as .optimizer, but "
            f"{type(optimizer).__name__} was given; other optimizers record nothing."
        )
        raise CurvestepError(msg)
    return Attachment(model, optimizer, batch_size, scaler)
