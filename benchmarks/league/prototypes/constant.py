"""A constant scale with the average, and all readings of its windows: what would a rule see at the best scale?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from benchmarks.league.prototypes.base import Windowed


class Constant(Windowed):
    """τ = s after a ramp of 20 steps."""

    def __init__(self, params: Sequence[nn.Parameter], s: float, every: int = 0) -> None:
        super().__init__(params, every)
        self.s = s

    def scale(self, size: float) -> float:
        """Return s, less during the first 20 steps."""
        del size
        return self.s * min(1.0, self.count / 20.0)
