"""In how many decades of its number a method stays near its best; from the rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from benchmarks.sensitivity.plan import SEEDS, VALUES, SubjectName
from benchmarks.sensitivity.row import SensitivityRow

Split = Literal["train", "test"]


@final
@dataclass(frozen=True)
class Curve:
    """The end of a method's runs over the values of its number.

    Attributes:
        values: those of which every seed is there, ascending.
        means: geometric mean over the seeds; infinite where one is a miss.
        lows: least of the seeds; infinite where all are misses.
        highs: largest of the seeds; infinite where one is a miss.
    """

    values: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    @property
    def best(self) -> tuple[float, float]:
        """The value with the least mean, and that mean; NaN and infinity where there is none."""
        found = min(zip(self.means, self.values, strict=True), default=(math.inf, math.nan))
        return (found[1], found[0]) if math.isfinite(found[0]) else (math.nan, math.inf)


@final
@dataclass(frozen=True)
class Width:
    """The stretch around the best value in which the loss stays below a multiple of the best one.

    Attributes:
        low, high: its ends.
        open_low, open_high: whether it goes on beyond the values that were tried.
    """

    low: float
    high: float
    open_low: bool
    open_high: bool

    @property
    def decades(self) -> float:
        """Its length."""
        return math.log10(self.high / self.low)


def curve(rows: Sequence[SensitivityRow], task: str, method: SubjectName, split: Split) -> Curve:
    """The curve of a method on a task.

    Args:
        rows: of the store.
        task: name.
        method: name.
        split: which loss.

    Returns:
        The curve, at the values at which no seed is missing.
    """
    found: dict[float, list[float]] = {}
    for row in rows:
        if (row.task, row.method) == (task, method) and row.seed < SEEDS:
            loss = row.train if split == "train" else row.test
            found.setdefault(row.value, []).append(math.inf if loss is None else loss)
    values = [value for value in VALUES if len(found.get(value, [])) == SEEDS]
    means = [math.exp(math.fsum(map(_log, found[value])) / SEEDS) for value in values]
    return Curve(
        tuple(values),
        tuple(means),
        tuple(min(found[value]) for value in values),
        tuple(max(found[value]) for value in values),
    )


def width(found: Curve, multiple: float) -> Width | None:
    """The stretch around the best value with a loss of at most this multiple of the best.

    Between two values log loss is a line over log value. Towards a miss there is no line: the stretch ends at the last
    value without one.

    Args:
        found: the curve.
        multiple: above 1.

    Returns:
        The stretch; None where every value is a miss.

    Example:
        A parabola over the decades, loss 10^(x²): at most 10 times the best within one decade on either side.

        >>> values = (1e-2, 1e-1, 1.0, 10.0, 100.0)
        >>> means = (1e4, 10.0, 1.0, 10.0, math.inf)
        >>> width(Curve(values, means, means, means), 10.0).decades
        2.0
        >>> round(width(Curve(values, means, means, means), 10.0**0.5).decades, 6)
        1.0
        >>> width(Curve(values, means, means, means), 1e9)
        Width(low=0.01, high=10.0, open_low=True, open_high=False)
    """
    at, least = found.best
    if not math.isfinite(least):
        return None
    place = found.values.index(at)
    level = math.log(multiple * least)
    low, open_low = _end(found, place, -1, level)
    high, open_high = _end(found, place, 1, level)
    return Width(low, high, open_low, open_high)


def _end(found: Curve, place: int, step: int, level: float) -> tuple[float, bool]:
    """Where the curve crosses the level on one side, and whether it never does."""
    while 0 <= place + step < len(found.values):
        here, there = math.log(found.means[place]), _log(found.means[place + step])
        if there > level * (1.0 + 1e-12 * math.copysign(1.0, level)):  # a value on the level, but for rounding, is in
            if not math.isfinite(there):
                return found.values[place], False
            share = (level - here) / (there - here)
            x, y = math.log10(found.values[place]), math.log10(found.values[place + step])
            return 10.0 ** (x + share * (y - x)), False
        place += step
    return found.values[place], True


def _log(value: float) -> float:
    """The logarithm; infinity for infinity, and for a loss of 0 that of the least normal number of float32."""
    return math.inf if math.isinf(value) else math.log(max(value, 1.2e-38))
