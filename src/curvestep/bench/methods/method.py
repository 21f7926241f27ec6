"""The record that describes a method, and what its builder gets and gives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from curvestep._records import StepRecord


class RescaledOptimizer(Protocol):
    """What the training loop uses of curvestep's optimizers beyond torch's interface."""

    @property
    def last_step(self) -> StepRecord | None:
        """What the last step measured and did."""
        ...

    def record(self) -> AbstractContextManager[Any]:
        """The recording of one loss and its backward pass."""
        ...


@dataclass(frozen=True)
class BuildRequest:
    """What a builder gets.

    Args:
        parameters: the network's trainable parameters.
        lr: the learning rate, None for methods that need none.
        decay: factor on it after each epoch, in (0, 1].
        schedule: ``exponential`` or ``cosine``.
        warmup: steps of linear warm-up before the cosine.
        weight_decay: λ of the term λ/2·‖θ‖².
        steps: length of the run in steps.
        epochs: length of the run in epochs, rounded up.
    """

    parameters: list[Parameter]
    lr: float | None
    decay: float
    schedule: str
    warmup: int
    weight_decay: float
    steps: int
    epochs: int

    @property
    def given_lr(self) -> float:
        """The learning rate of a method that needs one (settings without it were refused before)."""
        if self.lr is None:
            raise ValueError("This method needs a learning rate and the settings have none.")
        return self.lr


@dataclass(frozen=True)
class Built:
    """What a builder gives.

    Args:
        optimizer: the optimizer.
        rescaled: the same object when it measures curvature and must record the loss, else None.
        step_scheduler: advanced after every step.
        epoch_scheduler: advanced after every epoch.
    """

    optimizer: Optimizer
    rescaled: RescaledOptimizer | None = None
    step_scheduler: LRScheduler | None = None
    epoch_scheduler: LRScheduler | None = None


@dataclass(frozen=True)
class Method:
    """A way to train.

    Args:
        name: what the command line calls it.
        description: one line for ``curvestep methods``.
        needs_lr: whether a learning rate must be given; the others take none.
        build: makes the optimizer and its schedule.
    """

    name: str
    description: str
    needs_lr: bool
    build: Callable[[BuildRequest], Built]
