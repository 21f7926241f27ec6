"""Adam's direction with a measured step under a fixed ceiling: `curvestep.Auto` before it measured its scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction
from curvestep.optim._average import AVERAGING
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._options import BETA3, EVERY, SAMPLES
from curvestep.steprules import Ceiling, CurvatureRescaling, Lazy, StepRule

_LEVEL = 0.5
_PEAK = "peak"


@final
class CeilingAdam(AbstractComposedOptimizer):
    """τ is at most the step to the minimum of the parabola along Adam's direction and peak · min(k/100, √(100/k)).

    The weights are averaged as those of `curvestep.Auto`.

    Args:
        params: As in `torch.optim`.
        weight_decay: λ of λ/2 ‖θ‖², which is part of the loss.
        every: Longest interval between two measurements, in steps; with k steps taken it is min(every, 1 + ⌊k/10⌋).
        share: Share of the batch that is measured; None for all.
        beta3: β₃ of the averaged curvature.
        peak: Height of the ceiling at its highest, in the unit of Adam's direction, above 0.
        curved: Whether the curvature bounds the step; else the ceiling alone does.
    """

    _announces_whole_batch = False
    _memory = "split"

    def __init__(
        self,
        params: ParamsT,
        *,
        weight_decay: float = 0.0,
        every: int = 16,
        share: float | None = 0.25,
        beta3: float = 0.8,
        peak: float = 0.006,
        curved: bool = True,
    ) -> None:
        options = {
            "lr": _LEVEL if curved else 1e6,  # a level so high that the parabola's step is never the shorter one
            "weight_decay": weight_decay,
            "decoupled_weight_decay": 0.0,
            SAMPLES: share,
            EVERY: every,
            BETA3: beta3,
            AVERAGING: 8.0,
            _PEAK: peak,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return Adam."""
        del group
        return Adam(0.9, 0.99, 1e-8)

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return Algorithm 1 with the absolute slope, measured now and then, under the ceiling."""
        measured = CurvatureRescaling(groups[0][BETA3], slope="absolute", max_relative_step=math.inf)
        # At the level 1e6 a ceiling in units of ½ would be 2e6 times as high.
        level = groups[0]["lr"] if groups[0]["lr"] > 1.0 else _LEVEL
        return Ceiling(Lazy(measured, groups[0][EVERY]), groups[0][_PEAK], 100, level=level)

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """The options that are the same in all groups."""
        return (SAMPLES, EVERY, BETA3, AVERAGING, _PEAK)
