"""The training loop that the experiments share: any step, a fixed number of them, one row."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from benchmarks.regimes.plan import AnyCase, Experiment
from benchmarks.regimes.row import DIVERGED, FINISHED, RegimeRow
from curvestep.bench.environment import revision
from curvestep.bench.measure import LOSSES, MovingAverage, evaluate
from curvestep.bench.methods.method import StepReporter
from curvestep.bench.task import Batch, Feed, LoadRequest
from curvestep.bench.tasks import get_task

_FACTOR = 0.9
_WARM = 10
_KEPT = 40


@final
@dataclass(frozen=True)
class Seen:
    """What a step saw.

    Args:
        loss: of the batch, before the step.
        slope: along the direction; None where none was measured.
        outcome: how the step ended, by name.
        lipschitz: L̃; None where there is none, or more than one.
    """

    loss: float
    slope: float | None
    outcome: str
    lipschitz: float | None = None


class Stepper(Protocol):
    """Takes a step on a loss."""

    def step(self, compute: Callable[[], Tensor]) -> Seen:
        """Compute the loss, its gradient and the measurements, and move."""
        ...


@final
@dataclass(frozen=True)
class OptimizerStepper:
    """A step of one of the library's optimizers.

    Args:
        optimizer: which.
        reporter: the same object.
        scheduler: of ℓ, advanced at each step.
    """

    optimizer: torch.optim.Optimizer
    reporter: StepReporter
    scheduler: LRScheduler | None = None

    def step(self, compute: Callable[[], Tensor]) -> Seen:
        """One step."""
        losses: list[Tensor] = []

        def closure() -> Any:  # torch says float, and means the loss as a tensor
            self.optimizer.zero_grad()
            loss = compute()
            loss.backward()
            losses.append(loss.detach())
            return loss

        self.optimizer.step(closure)
        if self.scheduler is not None:
            self.scheduler.step()
        last = self.reporter.last_step
        assert last is not None, "A step was just taken."
        return Seen(losses[0].item(), last.slope, last.outcome.name, last.lipschitz)


@final
@dataclass(frozen=True)
class Setting:
    """What is trained.

    Args:
        task: whose data and loss.
        batch_size: samples in a batch.
        steps: length of the run.
        seed: initial weights and order of the batches.
        build: makes the network.
        train_size: number of training samples, None for all that the task's small scale has.
        window: length of a window of text.
    """

    task: str
    batch_size: int
    steps: int
    seed: int
    build: Callable[[], nn.Module]
    train_size: int | None = None
    window: int | None = None


def train(
    experiment: Experiment,
    case: AnyCase,
    setting: Setting,
    stepper: Callable[[nn.Module], Stepper],
    data_dir: Path | None,
    *,
    targets: Callable[[nn.Module, Tensor], Tensor] = lambda _, targets: targets,
) -> RegimeRow:
    """Train a network and say where it went.

    Args:
        experiment: whose run this is.
        case: which.
        setting: what is trained.
        stepper: makes the optimizer of a network.
        data_dir: folder of local data sets.
        targets: what the network's output is compared with, from the network (after its forward) and the batch's.

    Returns:
        The row. `numbers` has the share of the steps whose direction ascends on its batch (slope below 0), and the
        least L̃.
    """
    task = get_task(setting.task)
    request = LoadRequest(
        batch_size=setting.batch_size,
        train_size=setting.train_size,
        seed=setting.seed,
        device=torch.device("cpu"),
        data_dir=data_dir,
        augmented=False,
        window=setting.window,
        evaluation_size=1_000,
    )
    feed = task.load(request)
    loss = LOSSES[task.loss]
    torch.manual_seed(setting.seed)
    network = setting.build()
    taken = stepper(network)
    first = _training_loss(network, feed, task.loss)
    average, outcomes = MovingAverage(_FACTOR), Counter[str]()
    averages: list[float] = []
    slopes: list[float] = []
    least = math.inf
    begun = time.perf_counter()
    for batch in _batches(feed, setting.steps):
        network.train()

        def compute() -> Tensor:
            output = network(batch.inputs)  # noqa: B023 - called in this turn alone
            return loss(output, targets(network, batch.targets))  # noqa: B023

        seen = taken.step(compute)
        averages.append(average.update(seen.loss))
        outcomes[seen.outcome] += 1
        if seen.slope is not None:
            slopes.append(seen.slope)
        if seen.lipschitz is not None:
            least = min(least, seen.lipschitz)
        if not math.isfinite(seen.loss):
            break
    seconds = time.perf_counter() - begun
    last = _training_loss(network, feed, task.loss)
    finite = math.isfinite(averages[-1]) and math.isfinite(last)
    stride = max(1, len(averages) // _KEPT)
    kept = [*range(stride - 1, len(averages) - 1, stride), len(averages) - 1]
    return RegimeRow(
        experiment=experiment,
        case=asdict(case),
        ended=FINISHED if finite else DIVERGED,
        steps=len(averages),
        first=first,
        last=last if math.isfinite(last) else None,
        worst=max((value for value in averages[_WARM:] if math.isfinite(value)), default=None),
        numbers={
            "ascents": sum(slope < 0.0 for slope in slopes) / len(slopes) if slopes else None,
            "least_lipschitz": least,
        },
        outcomes=dict(outcomes),
        curve=[[float(index + 1), averages[index]] for index in kept if math.isfinite(averages[index])],
        seconds=seconds,
        revision=revision(),
    )


def _batches(feed: Feed, steps: int) -> Iterator[Batch]:
    """So many batches, over as many epochs as they take."""
    for epoch in range(-(-steps // feed.steps_per_epoch)):
        for batch in feed.epoch(epoch):
            if steps == 0:
                return
            steps -= 1
            yield batch


def _training_loss(network: nn.Module, feed: Feed, name: Any) -> float:
    """Mean loss over a fixed part of the training data, without an L2 term."""
    return evaluate(network, iter(feed.evaluation("train")), LOSSES[name], has_accuracy=False, l2=0.0).loss
