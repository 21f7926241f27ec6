"""The record that describes a method, and what its builder gets and gives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from curvestep._records import StepRecord


class StepReporter(Protocol):
    """What the training loop reads from curvestep's optimizers beyond torch's interface."""

    @property
    def last_step(self) -> StepRecord | None:
        """What the last step measured and did."""
        ...


@dataclass(frozen=True)
class BuildRequest:
    """What a builder gets.

    Args:
        parameters: the network's trainable parameters.
        lr: the learning rate, None for methods that need none or are to use their default.
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
        reporter: the same object when it reports what it measured in each step, else None.
        step_scheduler: advanced after every step.
        epoch_scheduler: advanced after every epoch.
        averaged: opens a context in which the parameters are averaged ones, for methods that keep an average.
    """

    optimizer: Optimizer
    reporter: StepReporter | None = None
    step_scheduler: LRScheduler | None = None
    epoch_scheduler: LRScheduler | None = None
    averaged: Callable[[], AbstractContextManager[object]] | None = None


@dataclass(frozen=True)
class Method:
    """A way to train.

    Args:
        name: what the command line calls it.
        description: one line for ``curvestep methods``.
        needs_lr: whether a learning rate must be given.
        build: makes the optimizer and its schedule.
        default_lr: the learning rate (or the cap on it) of a method that needs none but lets one be given; None for
            methods that take none at all.
        takes_schedule: whether the schedule of a given learning rate is applied, or the method has one of its own.
    """

    name: str
    description: str
    needs_lr: bool
    build: Callable[[BuildRequest], Built]
    default_lr: float | None = None
    takes_schedule: bool = True
