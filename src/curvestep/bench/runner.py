"""The training loop: one run from its settings to its record, the same lines for every method."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.checkpoint import read_checkpoint, write_checkpoint
from curvestep.bench.config import RunConfig
from curvestep.bench.environment import environment, revision
from curvestep.bench.errors import SettingError
from curvestep.bench.feeds.last import LastFeed
from curvestep.bench.measure import LOSSES, Evaluation, MovingAverage, StepMeasurement, Thinner, evaluate, l2_term
from curvestep.bench.methods import get_method
from curvestep.bench.methods.method import BuildRequest, Built, Method
from curvestep.bench.record import DIVERGED, FINISHED, EpochMetrics, RunRecord
from curvestep.bench.task import Batch, Feed, LoadRequest, Task
from curvestep.bench.tasks import get_task
from curvestep.nn import FeatureMemory, keep_batch_norm, refresh_batch_norm

# Statistics of batch normalisation for averaged weights come from this many batches of the measured training data.
_BATCHES_FOR_STATISTICS = 4


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows after a step."""

    steps: int  # length of the run
    measurement: StepMeasurement  # of the step
    metrics: EpochMetrics | None  # of the last full epoch, None in the first


def resolve_device(name: str) -> torch.device:
    """Return the device with this name.

    Raises:
        SettingError: if this machine has none of that name.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    if name not in present:
        raise SettingError(f"There is no device {name!r} here; the devices are {', '.join(present)}.")
    return torch.device(name)


def run(
    config: RunConfig,
    data_dir: Path | None = None,
    on_step: Callable[[Progress], None] | None = None,
    weights: Path | None = None,
    *,
    checkpoint: Path | None = None,
    give_up: float = math.inf,
    feeds: LastFeed | None = None,
    method: Method | None = None,
) -> RunRecord:
    """Return the record of one training run.

    ``method`` is one that no table has; None for that of the settings' name.

    The same seed gives every method the same initial weights and the same batches in the same order. A batch loss that
    is not finite ends the run; that is a result and is recorded as one. So does a moving average of the batch losses
    above ``give_up`` times the first batch loss. With ``checkpoint``, the state after each epoch is kept in that file
    until the run is over, and a run whose file is there goes on from it. ``feeds`` spares a row of runs the reading.

    Raises:
        SettingError: if a setting is unknown or does not fit the data or the machine.
        DataError: if the data is missing or broken.
        KeyboardInterrupt: if the person at the keyboard stopped it; what it had learnt is then in ``weights``.
    """
    keep_freed_memory()
    task = get_task(config.task)
    scale = task.scales[config.scale]
    device = resolve_device(config.device)
    request = LoadRequest(
        batch_size=config.batch_size,
        train_size=config.subset,
        seed=config.seed,
        device=device,
        data_dir=data_dir,
        augmented=scale.augmented,
        window=scale.window,
        evaluation_size=scale.evaluation_size,
    )
    feed = task.load(request) if feeds is None else feeds.load(task, request)
    steps = config.steps or config.epochs * feed.steps_per_epoch
    if config.warmup >= steps:
        raise SettingError(f"--warmup {config.warmup} leaves nothing of a run of {steps} steps; give a smaller one.")
    torch.manual_seed(config.seed)
    spec = scale.network if task.fitted is None else task.fitted(feed)
    network = spec.build().to(device)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    built = (method or get_method(config.method)).build(
        BuildRequest(
            parameters=parameters,
            lr=config.lr,
            decay=config.decay,
            schedule=config.schedule,
            warmup=config.warmup,
            weight_decay=config.weight_decay,
            steps=steps,
            epochs=math.ceil(steps / feed.steps_per_epoch),
        )
    )
    loop = _Loop(config, task, feed, network, parameters, built, steps)
    loop.give_up = give_up
    loop.resume(checkpoint)
    try:
        diverged_at, epochs = loop.train(on_step)
    except KeyboardInterrupt:
        loop.save(weights)  # a run that was stopped is no result, but what it has learnt is kept
        raise
    loop.save(weights)
    return RunRecord(
        config=config,
        status=FINISHED if diverged_at is None else DIVERGED,
        diverged_at=diverged_at,
        smoothing=task.smoothing,
        epochs=tuple(epochs),
        samples=loop.thinner.samples(),
        outcomes=dict(loop.outcomes),
        step_seconds=statistics.median(loop.step_seconds),
        parameters=sum(parameter.numel() for parameter in parameters),
        data=feed.fingerprint,
        revision=revision(),
        environment=environment(config.device),
    )


class _Loop:
    """One run in progress."""

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        feed: Feed,
        network: nn.Module,
        parameters: list[nn.Parameter],
        built: Built,
        steps: int,
    ) -> None:
        self.config = config
        self.task = task
        self.feed = feed
        self.network = network
        self.parameters = parameters
        self.memories = [module for module in network.modules() if isinstance(module, FeatureMemory)]
        self.built = built
        self.loss = LOSSES[task.loss]
        self.steps = steps
        self.thinner = Thinner(steps)
        self.outcomes: Counter[str] = Counter()
        self.step_seconds: list[float] = []
        self._loss_average = MovingAverage(task.smoothing)
        self._step_size_average = MovingAverage(task.smoothing)
        self._seconds = 0.0
        self._step = 0
        self._first_loss: float | None = None
        self._epochs: list[EpochMetrics] = []
        self._checkpoint: Path | None = None
        self._revision: str | None = None  # that the state was made with
        self.give_up = math.inf  # as a multiple of the first loss

    def train(self, on_step: Callable[[Progress], None] | None) -> tuple[int | None, list[EpochMetrics]]:
        """All epochs; the step of the divergence if there was one, and the metrics of each full epoch."""
        epochs = self._epochs
        for index in range(len(epochs), math.ceil(self.steps / self.feed.steps_per_epoch)):
            losses: list[float] = []
            step_sizes: list[float] = []
            slopes: list[float] = []
            measured = 0
            self.network.train()
            batches = self.feed.epoch(index)
            while self._step < self.steps:
                started = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                # θ before the step, as in the batch loss; its norm is no part of training and is not timed.
                paused = time.perf_counter()
                l2 = l2_term(self.parameters, self.config.weight_decay)
                started += time.perf_counter() - paused
                measurement = self._train_step(batch, l2, started)
                losses.append(measurement.loss)
                step_sizes.append(measurement.step_size)
                self.thinner.add(measurement)
                if on_step is not None:
                    on_step(Progress(self.steps, measurement, epochs[-1] if epochs else None))
                measured += measurement.curvature is not None
                if measurement.slope is not None:
                    slopes.append(measurement.slope)
                if not math.isfinite(measurement.loss) or self._hopeless(measurement):
                    return self._step, epochs
            if self.built.epoch_scheduler is not None:
                self.built.epoch_scheduler.step()
            epochs.append(self._metrics(index, losses, step_sizes, slopes, measured))
            self._keep()
        return None, epochs

    def _hopeless(self, measurement: StepMeasurement) -> bool:
        """Whether the loss is so far above the first one that the run is given up."""
        if self._first_loss is None:
            self._first_loss = measurement.loss
        return measurement.loss_ema > self.give_up * self._first_loss

    def resume(self, path: Path | None) -> None:
        """Keep the state after each epoch in a file from here on, and go on from what is in it."""
        self._checkpoint = path
        if path is None:
            return
        self._revision = revision()
        state = read_checkpoint(path, self.config.key, self._revision)
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.built.optimizer.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(self._schedulers(), state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        torch.set_rng_state(state["random"])
        self._epochs = [EpochMetrics(**epoch) for epoch in state["epochs"]]
        self._step, self._seconds, self._first_loss = state["step"], state["seconds"], state["first_loss"]
        self.step_seconds, self.outcomes = list(state["step_seconds"]), Counter(state["outcomes"])
        self._loss_average, self._step_size_average = (
            MovingAverage(self.task.smoothing, *numbers) for numbers in state["averages"]
        )
        self.thinner.load_state_dict(state["samples"])

    def _keep(self) -> None:
        """Write the state to the file, if there is one."""
        if self._checkpoint is None or self._step >= self.steps:
            return
        averages = (self._loss_average, self._step_size_average)
        state = {
            "key": self.config.key,
            "revision": self._revision,
            "network": self.network.state_dict(),
            "optimizer": self.built.optimizer.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self._schedulers()],
            "random": torch.get_rng_state(),
            "epochs": [dataclasses.asdict(epoch) for epoch in self._epochs],
            "step": self._step,
            "seconds": self._seconds,
            "first_loss": self._first_loss,
            "step_seconds": self.step_seconds,
            "outcomes": dict(self.outcomes),
            "averages": [(average._sum, average._weight) for average in averages],
            "samples": self.thinner.state_dict(),
        }
        write_checkpoint(self._checkpoint, state)

    def _schedulers(self) -> list[Any]:
        """Those of the method that there are."""
        return [each for each in (self.built.step_scheduler, self.built.epoch_scheduler) if each is not None]

    def _train_step(self, batch: Batch, l2: float, started: float) -> StepMeasurement:
        """One step of the optimizer, timed from the making of the batch to the new parameters."""
        optimizer, reporter = self.built.optimizer, self.built.reporter
        losses: list[Tensor] = []

        def closure() -> Any:  # torch says float, and means the loss as a tensor
            # The optimizer records what it needs of this.
            optimizer.zero_grad()
            output = self.network(batch.inputs)
            targets = batch.targets
            for memory in self.memories:  # the classifier saw remembered features too
                targets = memory.targets(targets)
            loss = self.loss(output, targets)
            loss.backward()
            losses.append(loss.detach())
            return loss

        # Read before the step, after which torch's schedulers change it.
        step_size = float(optimizer.param_groups[0]["lr"])
        optimizer.step(closure)
        if self.built.step_scheduler is not None:
            self.built.step_scheduler.step()
        value = float(losses[0]) + l2  # waits for the device; a method may call the closure again, at other parameters
        if batch.inputs.is_cuda:
            torch.cuda.synchronize(batch.inputs.device)
        seconds = time.perf_counter() - started
        slope = curvature = outcome = None
        if reporter is not None and reporter.last_step is not None:
            last = reporter.last_step
            step_size, slope, curvature, outcome = last.step_size, last.slope, last.curvature, last.outcome.name
            self.outcomes[outcome] += 1
        self._step += 1
        self._seconds += seconds
        self.step_seconds.append(seconds)
        return StepMeasurement(
            step=self._step,
            epoch=self._step / self.feed.steps_per_epoch,
            seconds=self._seconds,
            loss=value,
            loss_ema=self._loss_average.update(value),
            step_size=step_size,
            step_size_ema=self._step_size_average.update(step_size),
            slope=slope,
            curvature=curvature,
            outcome=outcome,
        )

    def _metrics(
        self, index: int, losses: list[float], step_sizes: list[float], slopes: list[float], measured: int
    ) -> EpochMetrics:
        """Measurements after the epoch with this number, outside the clock."""
        train, test = self._evaluations(index)
        last_train = last_test = None
        if self.built.averaged is not None:
            last_train, last_test = train.loss, test.loss
            with self.measured_weights(index):
                train, test = self._evaluations(index)
        return EpochMetrics(
            epoch=self._step / self.feed.steps_per_epoch,
            step=self._step,
            seconds=self._seconds,
            train_loss=statistics.fmean(losses),
            train_eval_loss=train.loss,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            step_size=statistics.fmean(step_sizes),
            last_train_eval_loss=last_train,
            last_test_loss=last_test,
            recovery_steps=None if self.task.recovery is None else self.task.recovery.steps(losses),
            descent_share=sum(slope >= 0.0 for slope in slopes) / len(slopes) if slopes else None,
            measured_share=measured / len(losses) if measured else None,
        )

    def save(self, weights: Path | None) -> None:
        """Write the weights to evaluate as a state_dict, where a file for them is asked for."""
        if weights is not None:
            with self.measured_weights(max(self._step // self.feed.steps_per_epoch - 1, 0)):
                weights.parent.mkdir(parents=True, exist_ok=True)
                torch.save(self.network.state_dict(), weights)

    @contextmanager
    def measured_weights(self, index: int) -> Iterator[None]:
        """Put the weights to evaluate in place: the average with batch statistics measured for it, or the last ones."""
        if self.built.averaged is None:
            yield
            return
        with self.built.averaged(), keep_batch_norm(self.network):
            batches = islice(self.feed.evaluation("train", index), _BATCHES_FOR_STATISTICS)
            refresh_batch_norm(self.network, (batch.inputs for batch in batches))
            yield

    def _evaluations(self, index: int) -> tuple[Evaluation, Evaluation]:
        """Training and test data of the epoch with this number, measured with the parameters as they are."""
        l2 = l2_term(self.parameters, self.config.weight_decay)
        train = self.feed.evaluation("train", index)
        test = self.feed.evaluation("test", index)
        return (
            evaluate(self.network, train, self.loss, has_accuracy=self.task.has_accuracy, l2=l2),
            evaluate(self.network, test, self.loss, has_accuracy=self.task.has_accuracy, l2=l2),
        )
