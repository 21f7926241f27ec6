"""The record that describes a task: data, network, loss, and every number of its scales."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from curvestep.bench.networks.specs import NetworkSpec

Split = Literal["train", "test"]
LossName = Literal["cross_entropy", "smoothed_cross_entropy", "mse"]


@dataclass(frozen=True)
class Batch:
    """Some examples on the device of the run."""

    inputs: torch.Tensor  # what the network is called on, (B, …)
    targets: torch.Tensor  # what its output is compared with: class numbers (B,) or (B, T), or values like the output


class Feed(Protocol):
    """Batches of one data set, a pure function of the seed and the number of the epoch."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches in an epoch."""
        ...

    @property
    def fingerprint(self) -> str:
        """Which data this is."""
        ...

    def epoch(self, index: int) -> Iterator[Batch]:
        """The training batches of the epoch with this 0-based number."""
        ...

    def evaluation(self, split: Split, epoch: int = 0) -> Iterator[Batch]:
        """Fixed batches of one part of the data as it is in this epoch; the same in every epoch unless data shifts."""
        ...


@dataclass(frozen=True)
class LoadRequest:
    """What a task needs to know to make its feed."""

    batch_size: int  # examples in a training batch
    train_size: int | None  # number of training examples to keep, None for all
    seed: int  # decides the order of the batches
    device: torch.device  # where the tensors live
    data_dir: Path | None  # folder with local copies of the data sets, None for the hub's
    augmented: bool  # whether training images are cropped and flipped at random; of features, every view is shown
    window: int | None  # length of a window of text, None where examples are not windows
    # at most this many examples of a split are measured after an epoch, None for the feed's own
    evaluation_size: int | None = None


@dataclass(frozen=True)
class Scale:
    """One size of a task."""

    network: NetworkSpec  # the network with all its numbers
    batch_size: int  # examples in a batch
    epochs: int  # length of a run
    train_size: int | None = None  # number of training examples used, None for all
    augmented: bool = False  # whether training images are cropped and flipped at random
    window: int | None = None  # length of a window of text, None where examples are not windows
    # at most this many examples of a split are measured after an epoch, None for the feed's own
    evaluation_size: int | None = None


@dataclass(frozen=True)
class Recovery:
    """When a run counts as recovered after a shift of the data."""

    loss: float  # the level
    window: int  # number of last batch losses, all after the shift, whose mean must be at most the level

    def steps(self, losses: Sequence[float]) -> int | None:
        """Return the smallest n ≥ ``window`` whose last ``window`` losses have a mean of at most ``loss``, or None."""
        for end in range(self.window, len(losses) + 1):
            if statistics.fmean(losses[end - self.window : end]) <= self.loss:
                return end
        return None


@dataclass(frozen=True)
class Task:
    """A training problem."""

    name: str  # what the command line calls it
    description: str  # one line for ``curvestep tasks``
    loss: LossName  # loss per example, averaged over the batch
    has_accuracy: bool  # whether the share of right predictions is defined
    smoothing: float  # factor of the moving average over steps in tables and figures
    scales: Mapping[str, Scale]  # the sizes by name; ``tiny`` is what the laboratory draws the paper's figures at
    load: Callable[[LoadRequest], Feed]  # makes the feed
    default_scale: str = "small"  # the command line's
    recovery: Recovery | None = None  # what counts as recovered, for tasks whose data shifts at the start of each epoch
    fitted: Callable[[Feed], NetworkSpec] | None = None  # the network where data that was given decides its size
