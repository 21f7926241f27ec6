"""The scale at which the noise of the iterate and the progress of the average are in balance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from benchmarks.league.prototypes.base import Reading, Windowed


@dataclass(frozen=True)
class Options:
    """What a variant is made of: pure numbers, but for ``start``, which only tests of sensitivity set.

    Args:
        target: R at which s stays; R = N / p, N = ½ EᵀHE the height of the noise with E = z − x̄, p = P / ln(k₁/k₀) the
            progress P = J(x̄') − J(x̄) of the average over the window, per e-fold of the run.
        root: exponent q of the number of steps in the target, target · k^q: a part of order 1/k of the noise N is
            left in the average.
        careful: how many standard errors of p must agree before s moves; 0: none is looked at.
        power: exponent of the correction s ← s (target / R)^power.
        up: most that s grows at a window's end.
        down: most that s shrinks.
        keep: weight of the past windows in the averages of N and p.
        level: ℓ of the step's own bound; 0 turns it off.
        smooth: weight of the past steps in the bound's |⟨d, g⟩|, 0 for this step's own.
        optimist: whether p is taken so many errors above what was measured, in place of not moving within them.
        pull: exponent of a second factor, 1 + α held to [½, 2], with α = −σ/|κ| shrunk by its standard error.
        track: most that s changes at a window's end once it has turned for the first time; 0 for no other limit.
        free: whether that limit is on shrinking alone.
        start: s of the first step; None: the first step's own bound times ``first``.
        first: see start.
        ramp: steps over which τ rises to s; 0 none.
        every: interval of the step's own measurement.
        growth: of the windows.
        offset: of the windows.
        floor: p is taken at least this share of J(x̄), or of the whole fall of J so far where that is less.
        roof: p is taken at most this share of J(x̄), where it is above zero; 0 for no such limit.
        leap: what s grows by at a window's end where p was below ``floor``, in place of ``track``; 0 for no such.
        guard: whether N is taken without its sign, and no ``floor`` holds where J(x̄) rose by more than two errors.
        until: the bound holds on this many first steps only; 0 for all.
        least: whether p is the lesser of the last two windows' averages.
        alpha: whether α = −σ/κ below zero by more than its error also shortens s.
    """

    target: float = 0.1
    root: float = 0.0
    careful: float = 0.0
    power: float = 0.5
    up: float = 2.0
    down: float = 0.5
    keep: float = 0.5
    level: float = 0.5
    start: float | None = None
    first: float = 1.0
    ramp: int = 20
    every: int = 16
    growth: float = 1.25
    offset: int = 5
    alpha: bool = False
    smooth: float = 0.0
    optimist: bool = False
    pull: float = 0.0
    track: float = 0.0
    free: bool = False
    floor: float = 0.0
    roof: float = 0.0
    leap: float = 0.0
    guard: bool = False
    until: int = 0
    least: bool = False


class Balance(Windowed):
    """τ = min(s · min(k/ramp, 1), ℓ-bound), s ← s · (target · p / N)^power at the windows' ends."""

    def __init__(self, params: Sequence[nn.Parameter], options: Options) -> None:
        super().__init__(params, options.every, options.growth, options.offset)
        self.o, self.s = options, options.start
        self.window_taus: list[float] = []
        self.noise, self.progress, self.variance, self.opened = 0.0, 0.0, 0.0, 0
        self.scales: list[float] = []
        self.side: bool | None = None  # whether s grew when it moved last
        self.settled = False
        self.slope: float | None = None  # the bound, smoothed over steps
        self.first_loss: float | None = None
        self.weight, self.former = 0.0, math.inf

    def needs_curvature(self) -> bool:
        """Measure only where there is a bound, and once for the start."""
        if self.o.level == 0.0:
            return self.s is None
        if self.o.until and self.count >= self.o.until:
            return False
        return super().needs_curvature()

    def scale(self, size: float) -> float:
        """Return the shorter of the two steps; ``size`` is the one with ℓ = ½."""
        self.slope = size if self.slope is None else self.o.smooth * self.slope + (1.0 - self.o.smooth) * size
        size = self.slope
        bound = 2.0 * self.o.level * size if self.o.level > 0.0 else math.inf
        if self.o.until and self.count > self.o.until:
            bound = math.inf
        ramp = min(1.0, self.count / self.o.ramp) if self.o.ramp else 1.0
        if self.s is None:
            self.s = self.o.first * size / ramp
        tau = self.s * ramp
        if tau > bound:
            tau = bound
            self.held += 1
        self.window_taus.append(tau / ramp)
        return tau

    def _target(self) -> float:
        return self.o.target * self.count**self.o.root

    def _factor(self, progress: float) -> float:
        """Return what s is multiplied by for a progress p."""
        if progress <= 0.0:
            return self.o.down if self.noise > 0.0 else 1.0
        if self.noise <= 0.0:
            return self.o.up
        f = (self._target() * progress / self.noise) ** self.o.power
        return min(max(f, self.o.down), self.o.up)

    def learn(self, reading: Reading) -> None:
        """Move s from what it amounted to over the window."""
        assert self.s is not None
        used = math.fsum(self.window_taus) / len(self.window_taus)
        self.window_taus = []
        folds = math.log(reading.step / max(1, self.opened))
        self.opened = reading.step
        if not all(math.isfinite(x) for x in (reading.loss, reading.before, reading.out_curvature)):
            self.s, self.noise, self.progress, self.variance = self.o.down * used, 0.0, 0.0, 0.0
            self.weight = 0.0
            return
        keep = self.o.keep
        if self.first_loss is None:
            self.first_loss = reading.before
        self.weight = keep * self.weight + 1.0
        height = 0.5 * reading.out_curvature
        self.noise = keep * self.noise + (abs(height) if self.o.guard else height)
        self.progress = keep * self.progress + (reading.before - reading.loss) / folds
        error = max(reading.slope_error, math.sqrt(reading.noise)) / folds
        self.variance = keep * keep * self.variance + error * error
        spread = self.o.careful * math.sqrt(self.variance)
        progress = min(self.progress, self.former) if self.o.least else self.progress
        self.former = self.progress
        left, fallen = reading.loss * self.weight, (self.first_loss - reading.loss) * self.weight
        least = self.o.floor * max(0.0, min(left, fallen)) if self.o.floor else -math.inf
        if self.o.guard and self.progress + 2.0 * math.sqrt(self.variance) < 0.0:
            least = -math.inf
        most = self.o.roof * left if self.o.roof and left > 0.0 else math.inf
        low, high = (self._factor(min(max(progress + side * spread, least), most)) for side in (-1.0, 1.0))
        if self.o.optimist:
            f = high
        else:
            f = high if high < 1.0 else max(low, 1.0)
        if self.o.pull > 0.0:
            kappa = max(abs(reading.curvature), 1e-30)
            alpha = -reading.slope / kappa
            error = max(reading.slope_error, math.sqrt(reading.noise)) / kappa
            alpha *= max(0.0, 1.0 - (error / alpha) ** 2) if alpha else 0.0
            f *= min(max(1.0 + alpha, 0.5), 2.0) ** self.o.pull
            f = min(max(f, self.o.down), self.o.up)
        elif self.o.alpha:
            alpha = -reading.slope / max(abs(reading.curvature), 1e-30)
            error = max(reading.slope_error, math.sqrt(reading.noise)) / max(abs(reading.curvature), 1e-30)
            if alpha + error < 0.0:
                f = min(f, max(1.0 + alpha + error, self.o.down))
        if self.o.track > 0.0:
            side = f > 1.0
            self.settled = self.settled or (self.side is not None and f != 1.0 and side != self.side)
            self.side = side if f != 1.0 else self.side
            if self.settled:
                f = min(max(f, 1.0 / self.o.track), self.o.up if self.o.free else self.o.track)
        if self.o.leap and progress < least and self.noise < self._target() * least:
            f = self.o.leap
        # Where the bound decided, s is not let run away from what the steps were.
        base = min(self.s, 2.0 * used) if used < 0.9 * self.s else self.s
        self.s = base * f
        self.scales.append(self.s)
