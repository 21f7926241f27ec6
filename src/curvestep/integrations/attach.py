"""Recordings that open with a model's forward and close with its backward, so that the loop needs no line for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from curvestep._errors import CurvestepError
from curvestep.engine import open_recorder
from curvestep.optim import AbstractRecordedOptimizer
from curvestep.optim._joined import Joined


@final
class Attachment:
    """What opens and closes the recordings of one optimizer with the forwards of its modules; `remove()` ends it."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizer: AbstractRecordedOptimizer,
        batch_size: int | None,
        scaler: GradScaler | None,
    ) -> None:
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._scaler = scaler
        self._open: Joined | None = None
        self._hooks = [model.register_forward_pre_hook(self._enter) for model in models]
        self._hooks.append(optimizer.register_step_pre_hook(lambda *_: self.close()))

    def remove(self) -> None:
        """Take the hooks off modules and optimizer."""
        self.close()
        for hook in self._hooks:
            hook.remove()

    def close(self) -> None:
        """Close the recording that is open: backward has ended, or the step begins."""
        joined, self._open = self._open, None
        if joined is not None:
            joined()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        """Open a recording before a forward that is trained on, or join the one of the modules before it."""
        del inputs
        if not (module.training and torch.is_grad_enabled()):
            return
        recorder = open_recorder()
        joined = Joined() if recorder is None else recorder.after_backward
        if not isinstance(joined, Joined) or self._optimizer in joined:
            return  # the recording of the user, or ours: a second forward of the same loss
        self.close()
        joined.enter(self._optimizer, self._batch_size, self._scaler)
        self._open = joined
        opened = open_recorder()
        if opened is not None:  # None on a step that measures nothing
            opened.after_backward = joined


def attach(
    model: nn.Module | Sequence[nn.Module],
    optimizer: Any,
    *,
    batch_size: int | None = None,
    scaler: GradScaler | None = None,
) -> Attachment:
    """Record a model's training steps for its optimizer, in a loop that has no place for ``optimizer.record()``.

    A recording opens before each forward of ``model`` in training mode with gradients enabled, and closes when the
    backward pass after it has ended; ``optimizer.step()`` then uses it, and with gradient accumulation all of them. In
    evaluation, under ``torch.no_grad()``, inside a recording of the user's own and in a closure that ``step`` records
    nothing happens.

    The modules of one loss may be attached together, where they have one optimizer, or each to its own: the recording
    that the first forward opens spans those after it, and an optimizer whose module is called then joins it, as in
    ``with a.record(), b.record():``. A backward belongs to the optimizers whose parameters it gives a gradient.

    Args:
        model: The module whose forward begins what the loss is computed from: the outermost one, or the one that a
            trainer wraps. Or several, as a list or an ``nn.ModuleList``, where the loss is computed from the outputs of
            any of them: encoder and decoder, two towers.
        optimizer: One of curvestep's, or a wrapper that holds it as ``.optimizer``, as Accelerate's does.
        batch_size: The number of samples of a batch, where it cannot be read off the data; as in ``curvestep.record``.
        scaler: The GradScaler of the loop, where gradients are unscaled and clipped before the step; read off a wrapper
            that holds one as ``.scaler``, as Accelerate's does.

    Returns:
        The attachment, with ``remove()``.

    Raises:
        CurvestepError: The optimizer is none that records, or no module was given. A forward raises it where an
            optimizer joins that shares no recording (``Auto``), or states another number of samples.

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
    return Attachment(_modules(model), optimizer, batch_size, scaler)


def _modules(model: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules whose forwards are recorded; refuse what holds none that is called."""
    models: Sequence[Any] = [model]
    if isinstance(model, (list, tuple)):
        models = model
    elif isinstance(model, nn.ModuleList) and type(model).forward is nn.Module.forward:  # one that cannot be called
        models = list(model)
    found = [each for each in models if isinstance(each, nn.Module)]
    if found and len(found) == len(models):
        return found
    given = ", ".join([type(each).__name__ for each in models]) or "none"
    msg = f"attach needs the module whose forwards are recorded, or a list of modules, but {given} was given."
    raise CurvestepError(msg)
