"""What one run leaves behind: typed records that turn into one JSON line and back, without torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvestep.bench.config import RunConfig
from curvestep.bench.store import Store, rounded

SCHEMA = 1
FINISHED = "finished"
DIVERGED = "diverged"
DIGITS = 7  # float32 has no more


@dataclass(frozen=True)
class EpochMetrics:
    """Measurements at the end of an epoch; losses are means over examples and contain λ/2·‖θ‖².

    A method that averages its weights is measured with the average, with batch-norm statistics measured anew for it;
    the ``last_`` losses are then those of the weights that training goes on with, and None for every other method.
    """

    epoch: float  # epochs done, counted in steps, so the last one may be a fraction
    step: int  # steps done
    seconds: float  # seconds spent in steps since the start, evaluation excluded
    train_loss: float | None  # mean of the batch losses over this epoch, each before its step
    # loss on a fixed part of the training data after the epoch: what every table calls training loss
    train_eval_loss: float | None
    test_loss: float | None  # loss on the test data after the epoch
    test_accuracy: float | None  # share of right predictions on the test data, None where the task has none
    step_size: float | None  # mean step size τ over this epoch
    last_train_eval_loss: float | None = None  # ``train_eval_loss`` of the last iterate, where the method averages
    last_test_loss: float | None = None  # ``test_loss`` of the last iterate, where the method averages
    # steps into this epoch after which the loss was back at the task's level of recovery; None where it never was, and
    # in tasks whose data does not shift
    recovery_steps: int | None = None
    # share of this epoch's steps whose direction descends on its batch, ⟨g, d⟩ ≥ 0; None where no slope is known
    descent_share: float | None = None
    measured_share: float | None = None  # share of this epoch's steps that measured a curvature; None where none did


@dataclass(frozen=True)
class StepSamples:
    """Every n-th step of a run as equally long columns; ``ema`` columns were averaged before the thinning."""

    step: tuple[int, ...]  # 1-based step numbers
    epoch: tuple[float, ...]  # the same in epochs
    seconds: tuple[float, ...]  # seconds spent in steps up to here
    loss: tuple[float | None, ...]  # loss of the batch before its step
    loss_ema: tuple[float | None, ...]  # its exponential moving average, started without bias
    step_size: tuple[float | None, ...]  # step size τ
    step_size_ema: tuple[float | None, ...]  # its exponential moving average, started without bias
    slope: tuple[float | None, ...]  # ⟨∇J, d⟩ along the direction, None for methods that do not measure it
    curvature: tuple[float | None, ...]  # dᵀ∇²J d along the direction, None for methods that do not measure it


@dataclass(frozen=True)
class RunRecord:
    """One finished or diverged run."""

    config: RunConfig  # the settings
    status: str  # ``finished`` or ``diverged`` (the loss of a batch was not finite; the run ended there)
    diverged_at: int | None  # the 1-based step of the divergence, else None
    smoothing: float  # factor of the moving averages in ``samples``
    epochs: tuple[EpochMetrics, ...]  # measurements, one an epoch
    samples: StepSamples  # thinned measurements of single steps
    outcomes: dict[str, int]  # how often each outcome of a step occurred, empty for methods without outcomes
    step_seconds: float  # median seconds of a step, evaluation excluded
    parameters: int  # number of trainable numbers of the network
    data: str  # fingerprint of the data that was used
    revision: str | None  # git revision of the library, with ``+`` when files were changed, or None outside a checkout
    environment: dict[str, Any]  # versions and processor, without names of hosts or paths

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object: numbers have 7 digits, and those that are not finite become null."""
        return {
            "schema": SCHEMA,
            "key": self.key,
            "config": self.config.to_json(),
            "status": self.status,
            "diverged_at": self.diverged_at,
            "smoothing": self.smoothing,
            "epochs": [rounded(dataclasses.asdict(epoch), DIGITS) for epoch in self.epochs],
            "samples": rounded(dataclasses.asdict(self.samples), DIGITS),
            "outcomes": self.outcomes,
            "step_seconds": rounded(self.step_seconds, DIGITS),
            "parameters": self.parameters,
            "data": self.data,
            "revision": self.revision,
            "environment": self.environment,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunRecord:
        """Return the record that `to_json` gave, after a round through JSON.

        Raises:
            ValueError: if it has another schema or lacks a field.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(f"This version reads records of schema {SCHEMA}, this one has {data.get('schema')!r}.")
        try:
            return cls(
                config=RunConfig.from_json(data["config"]),
                status=data["status"],
                diverged_at=data["diverged_at"],
                smoothing=data["smoothing"],
                epochs=tuple(EpochMetrics(**epoch) for epoch in data["epochs"]),
                samples=StepSamples(**{name: tuple(column) for name, column in data["samples"].items()}),
                outcomes=dict(data["outcomes"]),
                step_seconds=data["step_seconds"],
                parameters=data["parameters"],
                data=data["data"],
                revision=data["revision"],
                environment=dict(data["environment"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"The record of a run is incomplete ({error}).") from error

    @property
    def key(self) -> str:
        """That of the settings."""
        return self.config.key

    @property
    def last(self) -> EpochMetrics | None:
        """Measurements of the last epoch, None if the run diverged inside the first."""
        return self.epochs[-1] if self.epochs else None

    @property
    def held_out(self) -> float | None:
        """Loss on the test data at the end of the run; None if the run diverged or the loss is not finite."""
        return self.last.test_loss if self.status == FINISHED and self.last is not None else None


def run_store(path: Path) -> Store[RunRecord]:
    """The run store that a path names: a ``.jsonl`` file, or a folder that holds ``runs.jsonl``."""
    return Store(path if path.suffix == ".jsonl" else path / "runs.jsonl", RunRecord)
