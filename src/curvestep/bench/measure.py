"""Measurements of a network: loss with its L2 term, accuracy, moving averages, thinned columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curvestep.bench.record import StepSamples

if TYPE_CHECKING:
    from curvestep.bench.task import Batch, LossName

LossFunction = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, K) or (B, T, K) over all predictions."""
    if logits.dim() == 3:
        logits, classes = logits.flatten(0, 1), classes.flatten()
    return F.cross_entropy(logits, classes)


def smoothed_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, K) where a tenth of each target is spread over all classes."""
    return F.cross_entropy(logits, classes, label_smoothing=0.1)


LOSSES: dict[LossName, LossFunction] = {
    "cross_entropy": cross_entropy,
    "smoothed_cross_entropy": smoothed_cross_entropy,
    "mse": F.mse_loss,
}


def l2_term(parameters: Iterable[Tensor], weight_decay: float) -> float:
    """Return λ/2·‖θ‖²; squares in the parameters' precision, their sum in float64."""
    if weight_decay == 0.0:
        return 0.0
    norms = torch._foreach_norm([parameter.detach() for parameter in parameters])
    return 0.5 * weight_decay * float(torch.stack(norms).double().square().sum())


@dataclass(frozen=True)
class Evaluation:
    """Loss (with L2 term) and share of right predictions over a part of the data."""

    loss: float
    accuracy: float | None


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Iterator[Batch], loss: LossFunction, *, has_accuracy: bool, l2: float
) -> Evaluation:
    """Return means over the examples, with ``l2`` added to the loss; the network is in eval mode meanwhile."""
    network.eval()
    total, right, examples, predictions = 0.0, 0, 0, 0
    for batch in batches:
        output = network(batch.inputs)
        total += float(loss(output, batch.targets)) * len(batch.inputs)
        examples += len(batch.inputs)
        if has_accuracy:
            right += int((output.argmax(-1) == batch.targets).sum())
            predictions += batch.targets.numel()
    network.train()
    return Evaluation(total / examples + l2, right / predictions if has_accuracy else None)


@dataclass
class MovingAverage:
    """m ← β·m + (1-β)·x with the start corrected: m/(1-β^t)."""

    factor: float
    _sum: float = 0.0
    _weight: float = 0.0

    def update(self, value: float) -> float:
        """The average after one more value."""
        self._sum = self.factor * self._sum + (1.0 - self.factor) * value
        self._weight = self.factor * self._weight + (1.0 - self.factor)
        return self._sum / self._weight


@dataclass(frozen=True)
class StepMeasurement:
    """What the training loop saw in one step; fields as in ``StepSamples``, ``outcome`` by name."""

    step: int
    epoch: float
    seconds: float
    loss: float
    loss_ema: float
    step_size: float
    step_size_ema: float
    slope: float | None
    curvature: float | None
    outcome: str | None


@dataclass
class Thinner:
    """Keeps every n-th measurement and the last one, at most ``limit`` + 1."""

    steps: int  # length of the run
    limit: int = 400  # number to keep
    _kept: list[StepMeasurement] = field(default_factory=list)
    _last: StepMeasurement | None = None

    def add(self, measurement: StepMeasurement) -> None:
        """Take one measurement."""
        stride = -(-self.steps // self.limit)
        self._last = measurement
        if (measurement.step - 1) % stride == 0:
            self._kept.append(measurement)

    def state_dict(self) -> list[dict[str, Any]]:
        """What was kept, as plain numbers."""
        rows = [*self._kept, *([] if self._last is None else [self._last])]
        return [dataclasses.asdict(row) for row in rows]

    def load_state_dict(self, rows: list[dict[str, Any]]) -> None:
        """Go on from what `state_dict` returned."""
        measurements = [StepMeasurement(**row) for row in rows]
        self._kept, self._last = measurements[:-1], measurements[-1] if measurements else None
        if self._kept and self._kept[-1] == self._last:
            self._last = self._kept[-1]

    def samples(self) -> StepSamples:
        """The kept measurements as columns."""
        rows = list(self._kept)
        if self._last is not None and (not rows or rows[-1] is not self._last):
            rows.append(self._last)
        return StepSamples(
            step=tuple(row.step for row in rows),
            epoch=tuple(row.epoch for row in rows),
            seconds=tuple(row.seconds for row in rows),
            loss=tuple(row.loss for row in rows),
            loss_ema=tuple(row.loss_ema for row in rows),
            step_size=tuple(row.step_size for row in rows),
            step_size_ema=tuple(row.step_size_ema for row in rows),
            slope=tuple(row.slope for row in rows),
            curvature=tuple(row.curvature for row in rows),
        )
