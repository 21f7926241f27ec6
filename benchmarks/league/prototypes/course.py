"""A scale that begins with the size of the weights, follows a course, and is moved by windows a share of the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from benchmarks.league.prototypes.base import Reading, Windowed


def weight_size(params: Sequence[nn.Parameter]) -> float:
    """Return the geometric mean of the root mean squares of the tensors with two dimensions or more."""
    sizes = [float(p.detach().square().mean().sqrt()) for p in params if p.dim() >= 2]
    logs = [math.log(size) for size in sizes if size > 0.0]
    return math.exp(math.fsum(logs) / len(logs)) if logs else 0.0


@dataclass(frozen=True)
class Options:
    """The pure numbers of the rule.

    Args:
        first: s₀ in units of the weights' size.
        share: s₀ in units of the first step with ℓ = ½, where all weights begin at zero.
        ramp: steps until the scale is s₀.
        knee: steps after which it falls.
        fall: the power of k with which it falls.
        moves: whether windows move the scale.
        gain: share of the way to balance that a window moves the scale.
        leak: share of what windows said that the next one forgets.
        target: T = target · √k is the R = N / p at which the scale stays.
        keep: weight of the past windows in the sums.
        floor: p is taken at least this share of the loss.
        roof: p is taken at most so many times the loss.
        careful: how many standard errors of p must agree.
        most: the largest factor of a window.
        gamma: of the average.
    """

    first: float = 0.1
    share: float = 0.3
    ramp: int = 20
    knee: int = 100
    fall: float = 0.25
    moves: bool = True
    gain: float = 0.4
    leak: float = 0.15
    target: float = 0.015
    keep: float = 0.5
    floor: float = 0.03
    roof: float = 1.5
    careful: float = 0.0
    most: float = 2.0
    gamma: float = 8.0


class Course(Windowed):
    """s = s₀ c_k e^u, with u ← (1 − leak) u + gain · ½ ln(T p / N) at the ends of windows, within limits."""

    def __init__(self, params: Sequence[nn.Parameter], options: Options) -> None:
        super().__init__(params, every=1)
        self.o = options
        self.average.gamma = options.gamma
        self.size = weight_size(params)
        self.first: float | None = None
        self.moved = 0.0  # u
        self.scales: list[float] = []
        self.opened, self.first_loss = 0, math.nan
        self._forget()

    def _forget(self) -> None:
        self.noise = self.progress = self.variance = self.weight = 0.0

    def needs_curvature(self) -> bool:
        """Measure the first step alone."""
        return self.first is None

    def scale(self, size: float) -> float:
        """Return s; ``size`` is the step with ℓ = ½."""
        if self.first is None:
            self.first = self.o.first * self.size if self.size > 0.0 else self.o.share * size
        course = min(1.0, self.count / self.o.ramp) * (self.o.knee / max(self.o.knee, self.count)) ** self.o.fall
        return self.first * course * math.exp(self.moved)

    def learn(self, reading: Reading) -> None:
        """Move s."""
        assert self.first is not None
        folds = math.log(reading.step / max(1, self.opened))
        self.opened = reading.step
        if not self.o.moves:
            return
        if not all(math.isfinite(x) for x in (reading.loss, reading.before, reading.out_curvature)):
            self.moved -= math.log(self.o.most)
            self._forget()
            return
        if math.isnan(self.first_loss):
            self.first_loss = reading.before
        error = max(reading.slope_error, math.sqrt(reading.noise))
        height = abs(0.5 * reading.out_curvature)
        gap = reading.iterate - reading.loss - reading.out_slope
        keep = self.o.keep
        self.weight = keep * self.weight + 1.0
        self.noise = keep * self.noise + (gap if gap > 10.0 * height else height)
        self.progress = keep * self.progress + (reading.before - reading.loss) / folds
        self.variance = keep * keep * self.variance + (error / folds) ** 2
        self.moved = (1.0 - self.o.leak) * self.moved + self._move(reading.loss)
        self.scales.append(self.first * math.exp(self.moved))

    def _move(self, loss: float) -> float:
        """Return f."""
        error = math.sqrt(self.variance)
        floor, roof = -math.inf, math.inf
        if self.progress + 2.0 * error >= 0.0:
            floor = self.o.floor * self.weight * max(0.0, min(loss, self.first_loss - loss))
        if loss > 0.0:
            roof = self.o.roof * self.weight * loss
        target = self.o.target * math.sqrt(self.count)
        if self.progress < floor and self.noise < target * floor:
            return math.log(self.o.most)
        low, high = (
            self._balance(target * min(max(self.progress + side * self.o.careful * error, floor), roof))
            for side in (-1.0, 1.0)
        )
        return high if high < 0.0 else max(low, 0.0)

    def _balance(self, wanted: float) -> float:
        """Return the share of the way to balance, within limits."""
        most = math.log(self.o.most)
        if wanted <= 0.0 or self.noise <= 0.0:
            return most if wanted > 0.0 else -most
        return min(max(self.o.gain * 0.5 * math.log(wanted / self.noise), -most), most)
