"""The scale from the parabola along the displacement of the average, held to the step's own curvature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from benchmarks.league.prototypes.base import Reading, Windowed


@dataclass(frozen=True)
class Options:
    """What a variant is made of; pure numbers, but for ``start``, which only tests of sensitivity set.

    Args:
        start: s before anything is known; None: the first step's own bound times ``first``.
        first: see start.
        level: ℓ of the step's own bound; 0 turns it off.
        up: most that s grows at a window's end.
        down: most that s shrinks.
        shrink: whether σ is shrunk by its standard error.
        target: α at which s stays.
        balance: weight of the comparison of noise and progress, 0 for none.
        power: exponent of a factor.
        ramp: steps over which τ rises to s.
        every: interval of the step's own measurement.
    """

    start: float | None = None
    first: float = 1.0
    level: float = 0.5
    up: float = 2.0
    down: float = 0.5
    shrink: bool = True
    target: float = 0.0
    balance: float = 0.0
    power: float = 1.0
    ramp: int = 20
    every: int = 16


class Long(Windowed):
    """τ = min(s · min(k/ramp, 1), ℓ-bound), s ← s · f(α) at the windows' ends."""

    def __init__(self, params: Sequence[nn.Parameter], options: Options) -> None:
        super().__init__(params, options.every)
        self.o, self.s = options, options.start
        self.window_taus: list[float] = []

    def scale(self, size: float) -> float:
        """Return the shorter of the two steps; ``size`` is the one with ℓ = ½."""
        bound = 2.0 * self.o.level * size if self.o.level > 0.0 else math.inf
        ramp = min(1.0, self.count / self.o.ramp)
        if self.s is None:
            self.s = self.o.first * size / ramp
        tau = self.s * ramp
        if tau > bound:
            tau = bound
            self.held += 1
        self.window_taus.append(tau / ramp)
        return tau

    def factor(self, r: Reading) -> float:
        """Return what s is multiplied by."""
        slope = r.slope
        if self.o.shrink and slope != 0.0:
            slope *= max(0.0, 1.0 - (r.slope_error / slope) ** 2)
        alpha = -slope / max(abs(r.curvature), 1e-30)
        f = 1.0 + alpha - self.o.target
        if self.o.balance > 0.0:
            progress = max(r.before - r.loss, 0.0)
            noise = max(0.5 * r.out_curvature, 1e-30)
            f = min(f, (self.o.balance * progress / noise) ** 0.5)
        return min(max(f, self.o.down), self.o.up) ** self.o.power

    def learn(self, reading: Reading) -> None:
        """Move s from what it amounted to over the window."""
        if not all(math.isfinite(x) for x in (reading.loss, reading.slope, reading.curvature)):
            self.s = 0.5 * (self.s or 0.0)
            return
        assert self.s is not None
        f = self.factor(reading)
        if reading.loss - reading.before > 2.0 * reading.slope_error:
            f = min(f, 0.5)
        used = sum(self.window_taus) / len(self.window_taus)
        # Where the bound decided, s is not let run away from what the steps were.
        self.s = min(self.s * f, 2.0 * max(used, 1e-30)) if used < 0.9 * self.s else self.s * f
        self.window_taus = []
