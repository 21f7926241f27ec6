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
    """What a builder gets."""

    parameters: list[Parameter]  # the network's trainable parameters
    lr: float | None  # the learning rate, None for methods that need none or are to use their default
    decay: float  # factor on it after each epoch, in (0, 1]
    schedule: str  # ``exponential`` or ``cosine``
    warmup: int  # steps of linear warm-up before the cosine
    weight_decay: float  # λ of the term λ/2·‖θ‖²
    steps: int  # length of the run in steps
    epochs: int  # length of the run in epochs, rounded up

    @property
    def given_lr(self) -> float:
        """The learning rate of a method that needs one (settings without it were refused before)."""
        if self.lr is None:
            raise ValueError("This method needs a learning rate and the settings have none.")
        return self.lr


@dataclass(frozen=True)
class Built:
    """What a builder gives."""

    optimizer: Optimizer  # the optimizer
    reporter: StepReporter | None = None  # the same object when it reports what it measured in each step, else None
    step_scheduler: LRScheduler | None = None  # advanced after every step
    epoch_scheduler: LRScheduler | None = None  # advanced after every epoch
    # opens a context in which the parameters are averaged ones, for methods that keep an average
    averaged: Callable[[], AbstractContextManager[object]] | None = None


@dataclass(frozen=True)
class Method:
    """A way to train."""

    name: str  # what the command line calls it
    description: str  # one line for ``curvestep methods``
    needs_lr: bool  # whether a learning rate must be given
    build: Callable[[BuildRequest], Built]  # makes the optimizer and its schedule
    # the learning rate (or the cap on it) of a method that needs none but lets one be given; None for methods that take
    # none at all
    default_lr: float | None = None
    # whether the schedule of a given learning rate is applied, or the method has one of its own
    takes_schedule: bool = True
