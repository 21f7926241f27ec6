"""The record that describes a task: data, network, loss, and every number of its two scales."""

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
LossName = Literal["cross_entropy", "mse"]


@dataclass(frozen=True)
class Batch:
    """Some examples on the device of the run.

    Args:
        inputs: what the network is called on, (B, …).
        targets: what its output is compared with: class numbers (B,) or (B, T), or values like the output.
    """

    inputs: torch.Tensor
    targets: torch.Tensor


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
    """What a task needs to know to make its feed.

    Args:
        batch_size: examples in a training batch.
        train_size: number of training examples to keep, None for all.
        seed: decides the order of the batches.
        device: where the tensors live.
        data_dir: folder with local copies of the data sets, None for the hub's.
        augmented: whether training images are cropped and flipped at random.
        window: length of a window of text, None where examples are not windows.
        evaluation_size: at most this many examples of a split are measured after an epoch, None for the feed's own.
    """

    batch_size: int
    train_size: int | None
    seed: int
    device: torch.device
    data_dir: Path | None
    augmented: bool
    window: int | None
    evaluation_size: int | None = None


@dataclass(frozen=True)
class Scale:
    """One size of a task.

    Args:
        network: the network with all its numbers.
        batch_size: examples in a batch.
        epochs: length of a run.
        train_size: number of training examples used, None for all.
        augmented: whether training images are cropped and flipped at random.
        window: length of a window of text, None where examples are not windows.
        evaluation_size: at most this many examples of a split are measured after an epoch, None for the feed's own.
    """

    network: NetworkSpec
    batch_size: int
    epochs: int
    train_size: int | None = None
    augmented: bool = False
    window: int | None = None
    evaluation_size: int | None = None


@dataclass(frozen=True)
class Recovery:
    """When a run counts as recovered after a shift of the data.

    Args:
        loss: the level.
        window: the mean of so many last batch losses must be at it or below; they all lie behind the shift.
    """

    loss: float
    window: int

    def steps(self, losses: Sequence[float]) -> int | None:
        """How many steps it took.

        Args:
            losses: of the batches since the shift.

        Returns:
            The smallest n ≥ ``window`` such that the mean of losses n-window+1 … n is at most ``loss``, else None.
        """
        for end in range(self.window, len(losses) + 1):
            if statistics.fmean(losses[end - self.window : end]) <= self.loss:
                return end
        return None


@dataclass(frozen=True)
class Task:
    """A training problem.

    Args:
        name: what the command line calls it.
        description: one line for ``curvestep tasks``.
        loss: loss per example, averaged over the batch.
        has_accuracy: whether the share of right predictions is defined.
        smoothing: factor of the moving average over steps in tables and figures.
        scales: the sizes by name.
        load: makes the feed.
        recovery: what counts as recovered, for tasks whose data shifts at the start of each epoch.
    """

    name: str
    description: str
    loss: LossName
    has_accuracy: bool
    smoothing: float
    scales: Mapping[str, Scale]
    load: Callable[[LoadRequest], Feed]
    recovery: Recovery | None = None
