"""The scale at which noise and progress balance, where progress is held between two shares of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from benchmarks.league.prototypes.base import Reading, Windowed


@dataclass(frozen=True)
class Options:
    """The pure numbers of the rule.

    Args:
        first: s of the first step in units of its own bound with ℓ = ½.
        target: T = target · √k is the R = N / p at which s stays.
        keep: weight of the past windows in the sums of N and p.
        floor: p is taken at least this share of the loss.
        roof: p is taken at most so many times the loss.
        careful: how many standard errors of p must agree before s moves.
        risen: a loss that rose by more than so many errors is no plateau.
        up: most that s grows at a window's end before it has turned.
        down: most that s shrinks before it has turned.
        track: most that s changes once it has turned.
        leap: what s grows by on a plateau; 0: as anywhere.
        least: whether p is the lesser of the last two windows'.
        both: whether s shrinks only where both of the last two windows say so, in place of the lesser p.
        alarm: whether with ``both`` a loss that rose beyond its error shrinks s at once.
        adam: whether the error of p is taken from Adam's averages alone, in place of parts of the batch too.
    """

    first: float = 0.1
    target: float = 0.015
    keep: float = 0.5
    floor: float = 0.03
    roof: float = 3.0
    careful: float = 0.5
    risen: float = 2.0
    up: float = 2.0
    down: float = 0.5
    track: float = 1.25
    leap: float = 2.0
    least: bool = True
    both: bool = False
    alarm: bool = False
    adam: bool = False


class Steady(Windowed):
    """τ = s, with s ← s · √(T p / N) at the ends of the windows k ← 1.25 k + 5, within limits.

    On one fresh batch, with E = z − x̄ and the window from k₀ to k₁,

        N ← ½ N + ½ |EᵀH(x̄)E|,    p ← ½ p + (J(x̄') − J(x̄)) / ln(k₁/k₀),    w ← ½ w + 1.
    """

    def __init__(self, params: Sequence[nn.Parameter], options: Options) -> None:
        super().__init__(params, every=1)
        self.o = options
        self.s: float | None = None
        self.scales: list[float] = []
        self.opened, self.first_loss = 0, math.nan
        self.grew: bool | None = None  # whether s grew when it moved last
        self.turned = False
        self._forget()

    def _forget(self) -> None:
        self.noise = self.progress = self.variance = self.weight = 0.0
        self.former = math.inf

    def needs_curvature(self) -> bool:
        """Measure the first step alone."""
        return self.s is None

    def scale(self, size: float) -> float:
        """Return s; ``size`` is the step with ℓ = ½."""
        if self.s is None:
            self.s = self.o.first * size
        return self.s

    def learn(self, reading: Reading) -> None:
        """Move s."""
        assert self.s is not None
        folds = math.log(reading.step / max(1, self.opened))
        self.opened = reading.step
        if not all(math.isfinite(x) for x in (reading.loss, reading.before, reading.out_curvature)):
            self.s *= self.o.down
            self._forget()
            return
        if math.isnan(self.first_loss):
            self.first_loss = reading.before
        error = math.sqrt(reading.noise) if self.o.adam else max(reading.slope_error, math.sqrt(reading.noise))
        keep = self.o.keep
        self.weight = keep * self.weight + 1.0
        self.noise = keep * self.noise + abs(0.5 * reading.out_curvature)
        self.progress = keep * self.progress + (reading.before - reading.loss) / folds
        self.variance = keep * keep * self.variance + (error / folds) ** 2
        self.s *= self._factor(reading.loss)
        self.scales.append(self.s)

    def _factor(self, loss: float) -> float:
        """Return what s is multiplied by."""
        error = math.sqrt(self.variance)
        progress = min(self.progress, self.former) if self.o.least else self.progress
        rose = self.progress + self.o.risen * error < 0.0
        both = self.o.both and math.isfinite(self.former) and not (self.o.alarm and rose)
        upper = max(self.progress, self.former) if both else progress
        self.former = self.progress
        floor, roof = -math.inf, math.inf
        if self.o.floor and not rose:
            floor = self.o.floor * self.weight * max(0.0, min(loss, self.first_loss - loss))
        if self.o.roof and loss > 0.0:
            roof = self.o.roof * self.weight * loss
        target = self.o.target * math.sqrt(self.count)
        if self.o.leap and progress < floor and self.noise < target * floor:
            return self.o.leap
        low, high = (
            self._balance(target * min(max(p, floor), roof))
            for p in (progress - self.o.careful * error, upper + self.o.careful * error)
        )
        factor = high if high < 1.0 else max(low, 1.0)
        if factor != 1.0:
            self.turned = self.turned or self.grew not in (None, factor > 1.0)
            self.grew = factor > 1.0
        return min(max(factor, 1.0 / self.o.track), self.o.track) if self.turned else factor

    def _balance(self, wanted: float) -> float:
        """Return the root of the wanted over the measured noise, within limits."""
        if wanted <= 0.0 or self.noise <= 0.0:
            return self.o.up if wanted > 0.0 else self.o.down
        return min(max(math.sqrt(wanted / self.noise), self.o.down), self.o.up)
