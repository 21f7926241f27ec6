"""Runs in groups: panels of equal setting, in them series of equal method, in them one run a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from curvestep.bench.config import RunConfig
from curvestep.bench.record import FINISHED, EpochMetrics, RunRecord

Axis = Literal["epoch", "seconds"]
StepColumn = Literal["loss_ema", "step_size_ema"]
EpochColumn = Literal["train_eval_loss", "test_loss", "test_accuracy"]


@dataclass(frozen=True)
class Spread:
    """Mean and range over the seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Mean and range over the seeds at each place of the axis, as far as all seeds got."""

    x: tuple[float, ...]  # places, averaged over the seeds
    mean: tuple[float, ...]  # means
    low: tuple[float, ...]  # smallest values
    high: tuple[float, ...]  # largest values
    broken: bool  # whether it ends early because a seed diverged


@dataclass(frozen=True)
class Series:
    """One method with its settings."""

    label: str  # method and learning rate
    method: str  # name of the method
    runs: tuple[RunRecord, ...]  # one a seed

    @property
    def diverged(self) -> int:
        """Number of seeds whose loss became infinite or undefined."""
        return sum(run.status != FINISHED for run in self.runs)

    def final(self, column: EpochColumn) -> Spread | None:
        """A measurement after the last epoch; None if a seed diverged or lacks it."""
        return self._spread([_number(run.last, column) for run in self.runs])

    def final_smoothed(self, column: StepColumn) -> Spread | None:
        """A moving average after the last step; None if a seed diverged or lacks it."""
        return self._spread([_last(getattr(run.samples, column)) for run in self.runs])

    def milliseconds(self) -> Spread | None:
        """Median milliseconds of a step."""
        return self._spread([1000.0 * run.step_seconds for run in self.runs])

    def seconds(self) -> Spread | None:
        """Seconds of all steps of a run."""
        return self._spread([run.last.seconds if run.last is not None else None for run in self.runs])

    def steps_curve(self, column: StepColumn, axis: Axis) -> Curve:
        """A moving average over the run."""
        rows = [
            (run.samples.epoch if axis == "epoch" else run.samples.seconds, getattr(run.samples, column))
            for run in self.runs
        ]
        return self._curve(rows)

    def epochs_curve(self, column: EpochColumn, axis: Axis) -> Curve:
        """A measurement after each epoch."""
        rows = [
            (
                tuple(entry.epoch if axis == "epoch" else entry.seconds for entry in run.epochs),
                tuple(_number(entry, column) for entry in run.epochs),
            )
            for run in self.runs
        ]
        return self._curve(rows)

    def _spread(self, values: Sequence[float | None]) -> Spread | None:
        """Mean and range; a divergence has no final number, so neither has the series."""
        numbers = [value for value in values if value is not None]
        if self.diverged or not numbers or len(numbers) < len(values):
            return None
        return Spread(math.fsum(numbers) / len(numbers), min(numbers), max(numbers))

    def _curve(self, rows: Sequence[tuple[Sequence[float], Sequence[float | None]]]) -> Curve:
        """Mean and range over the common beginning of all seeds."""
        columns: list[tuple[float, float, float, float]] = []
        for index in range(min(len(x) for x, _ in rows)):
            values = [y[index] for _, y in rows]
            numbers = [value for value in values if value is not None and math.isfinite(value)]
            if len(numbers) < len(values):
                break
            place = math.fsum(x[index] for x, _ in rows) / len(rows)
            columns.append((place, math.fsum(numbers) / len(numbers), min(numbers), max(numbers)))
        x, mean, low, high = zip(*columns, strict=True) if columns else ((), (), (), ())
        return Curve(x, mean, low, high, broken=self.diverged > 0)


@dataclass(frozen=True)
class Panel:
    """Series that may be compared: same task, scale, length, batch and data."""

    setting: RunConfig  # what they share
    series: tuple[Series, ...]  # the best one of each method first, by training loss, then the others
    leaders: frozenset[str]  # labels of the best series of each method

    @property
    def title(self) -> str:
        """The task."""
        return self.setting.task

    @property
    def subtitle(self) -> str:
        """Scale and length."""
        setting = self.setting
        length = f"{setting.steps:,} steps" if setting.steps is not None else f"{setting.epochs} epochs"
        parts = [f"{setting.scale} scale", length, f"batch {setting.batch_size}"]
        if setting.subset is not None:
            parts.append(f"{setting.subset:,} examples")
        return ", ".join(parts)

    @property
    def seeds(self) -> int:
        """Largest number of seeds of a series."""
        return max(len(series.runs) for series in self.series)

    @property
    def has_accuracy(self) -> bool:
        """Whether any run measured an accuracy."""
        return any(entry.test_accuracy is not None for row in self.series for run in row.runs for entry in run.epochs)

    def rates(self, method: str) -> int:
        """Number of settings of a method."""
        return sum(series.method == method for series in self.series)


def panels(records: Sequence[RunRecord]) -> tuple[Panel, ...]:
    """Return the runs as panels, in the order in which their first runs were made."""
    settings: dict[str, dict[str, list[RunRecord]]] = {}
    for record in records:
        settings.setdefault(record.config.setting.key, {}).setdefault(_series_key(record.config), []).append(record)
    return tuple(_panel(list(groups.values())) for groups in settings.values())


def _series_key(config: RunConfig) -> str:
    """Equal for runs that differ in the seed alone."""
    return f"{config.method}|{config.lr}|{config.decay}|{config.schedule}|{config.warmup}"


def _panel(groups: list[list[RunRecord]]) -> Panel:
    """Series sorted by training loss, with the best of each method marked."""
    rows = []
    for runs in groups:
        runs = sorted(runs, key=lambda run: run.config.seed)
        rows.append(Series(runs[0].config.label, runs[0].config.method, tuple(runs)))
    rows.sort(key=_rank)
    leaders: dict[str, str] = {}
    for series in rows:
        leaders.setdefault(series.method, series.label)
    return Panel(groups[0][0].config.setting, tuple(rows), frozenset(leaders.values()))


def _rank(series: Series) -> float:
    """Training loss at the end; a divergence is last."""
    final = series.final("train_eval_loss")
    return math.inf if final is None else final.mean


def _number(entry: EpochMetrics | None, column: EpochColumn) -> float | None:
    """One measurement by name."""
    return None if entry is None else getattr(entry, column)


def _last(values: Sequence[float | None]) -> float | None:
    """The last value of a column that may be empty."""
    return values[-1] if values else None
