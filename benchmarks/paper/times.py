"""Table 3: seconds of an epoch of each method over those of SGD's, measured in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from benchmarks.paper.plan import ScaleName
from benchmarks.paper.store import TIMES
from curvestep.bench.store import Row, Store

if TYPE_CHECKING:
    from curvestep.bench.methods.method import Built
    from curvestep.bench.task import Feed, Task

#: The source's seconds of an epoch, on a Quadro RTX 5000: SGD, RMSprop, RED-SGD, RED-RMSprop.
SOURCE: dict[str, tuple[float, float, float, float]] = {
    "mnist-lenet": (5.3, 5.4, 7.6, 7.7),
    "cifar10-vgg11": (16.4, 16.8, 30.1, 30.5),
    "cifar100-vgg19": (36.3, 36.9, 65.0, 65.0),
    "mnist-autoencoder": (5.1, 5.3, 5.7, 5.9),
}
METHODS = ("sgd", "rmsprop", "red-sgd", "red-rmsprop", "adamw")
_RATE = 1e-3
# Blocks of steps in turn; the first block of each method warms up.
_ROUNDS, _STEPS = 5, 2


class TimeKey(NamedTuple):
    """Which row."""

    task: str
    scale: str
    method: str


@final
@dataclass(frozen=True)
class TimeRow(Row):
    """A method on a task.

    Args:
        task: name.
        scale: of the task.
        method: name.
        seconds: for a step in each round, of the processor's time or a GPU's; the rounds of one task belong together.
        steps: in an epoch.
        revision: git revision of the library, where it was noted.
        device: where torch computed.
    """

    task: str
    scale: str
    method: str
    seconds: list[float]
    steps: int
    revision: str | None = None
    device: str = "cpu"

    @property
    def key(self) -> TimeKey:
        """Which row."""
        return TimeKey(self.task, self.scale, self.method)


def times_store(folder: Path) -> Store[TimeRow]:
    """The times beside the runs.

    Args:
        folder: of the stores.

    Returns:
        The store.
    """
    return Store(folder / f"{TIMES}.jsonl", TimeRow)


def ratio(row: TimeRow, base: TimeRow) -> float:
    """Median over the rounds of one method's time over another's in the same round."""
    return statistics.median(own / other for own, other in zip(row.seconds, base.seconds, strict=True))


def time_rows(
    store: Store[TimeRow],
    scale: ScaleName,
    told: Callable[[str], None],
    *,
    data_dir: Path | None,
    device: str = "cpu",
    deadline: float = math.inf,
) -> bool:
    """Measure the tasks that are missing; all methods of a task in turn, so that a slow moment meets each.

    Args:
        store: gets a row a method.
        scale: of the tasks.
        told: is told in a line.
        data_dir: folder of local data sets.
        device: where torch computes.
        deadline: time of the clock at which no further task begins.

    Returns:
        Whether all are there.
    """
    from curvestep.bench.environment import revision
    from curvestep.bench.execute import torch_threads

    present = store.keys()
    for task in SOURCE:
        keys = [TimeKey(task, scale, method) for method in METHODS]
        if all(key in present for key in keys):
            continue
        if time.time() >= deadline:
            return False
        with torch_threads(1):
            measured, steps = _measure(task, scale, data_dir, device)
        store.append(
            *(TimeRow(task, scale, key.method, measured[key.method], steps, revision(), device) for key in keys)
        )
        told(f"table3 {task}: {', '.join(f'{method} {min(times):.3g} s' for method, times in measured.items())}")
    return True


def _measure(name: str, scale_name: str, data_dir: Path | None, device: str) -> tuple[dict[str, list[float]], int]:
    """Seconds of a step, a number a round, and the steps of an epoch."""
    import torch

    from curvestep.bench.allocator import keep_freed_memory
    from curvestep.bench.methods import get_method
    from curvestep.bench.methods.method import BuildRequest
    from curvestep.bench.task import LoadRequest
    from curvestep.bench.tasks import get_task

    keep_freed_memory()
    task = get_task(name)
    scale = task.scales[scale_name]
    feed = task.load(
        LoadRequest(
            scale.batch_size, scale.train_size, 0, torch.device(device), data_dir, scale.augmented, scale.window
        )
    )
    took: dict[str, list[float]] = {method: [] for method in METHODS}
    built: dict[str, tuple[torch.nn.Module, Built]] = {}
    for method in METHODS:
        torch.manual_seed(0)
        network = scale.network.build().to(device)
        rate = _RATE if get_method(method).needs_lr else None
        request = BuildRequest(list(network.parameters()), rate, 1.0, "exponential", 0, 1e-7, 1_000, scale.epochs)
        built[method] = network, get_method(method).build(request)
        _steps(task, feed, *built[method], 1)
    for _ in range(_ROUNDS):
        for method in METHODS:
            took[method].append(_steps(task, feed, *built[method], _STEPS) / _STEPS)
    return took, feed.steps_per_epoch


def _steps(task: Task, feed: Feed, network: object, built: Built, count: int) -> float:
    """Seconds of so many steps, from making a batch to the new parameters: the processor's, or a GPU's by the clock."""
    from itertools import islice

    import torch

    from curvestep.bench.measure import LOSSES

    assert isinstance(network, torch.nn.Module)
    loss = LOSSES[task.loss]
    cuda = next(network.parameters()).is_cuda
    clock = time.perf_counter if cuda else time.process_time
    begun = clock()
    for batch in islice((batch for epoch in range(count) for batch in feed.epoch(epoch)), count):

        def closure() -> Any:  # torch says float, and means the loss as a tensor
            built.optimizer.zero_grad()
            value = loss(network(batch.inputs), batch.targets)  # noqa: B023 - called in this turn alone
            value.backward()
            return value

        built.optimizer.step(closure)
    if cuda:
        torch.cuda.synchronize()
    return clock() - begun
