"""Auto with other numbers in its rule or another direction, to show what each of them is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import nn

from curvestep.directions import Direction
from curvestep.optim import Auto
from curvestep.optim._windowed import AbstractWindowedOptimizer
from curvestep.steprules import CurvatureRescaling, NoiseBalance, WindowRule, Windows


@final
class VariedAuto(AbstractWindowedOptimizer):
    """Auto with some numbers of `curvestep.steprules.NoiseBalance` changed, or its direction.

    Args:
        params: what is trained.
        numbers: the changed ones by name.
        weight_decay: λ of λ/2 ‖θ‖², which is part of the loss.
        direction: in place of Auto's own, if any.
    """

    _announces_whole_batch = False

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        numbers: dict[str, Any],
        *,
        weight_decay: float = 0.0,
        direction: Direction | None = None,
    ) -> None:
        self._numbers = numbers
        auto = Auto(params)
        (group,) = auto.param_groups
        self._chosen = auto._direction(group) if direction is None else direction
        kept = ("curvature_samples", "averaging", "window_growth", "window_offset")
        options = {"lr": 0.5, "weight_decay": weight_decay, "decoupled_weight_decay": 0.0}
        super().__init__(params, {**options, **{name: group[name] for name in kept}})

    def _direction(self, group: dict[str, Any]) -> Direction:
        del group
        return self._chosen

    def _rule(self, groups: Sequence[dict[str, Any]]) -> WindowRule:
        windows = Windows(groups[0]["window_growth"], groups[0]["window_offset"])
        return NoiseBalance(CurvatureRescaling(slope="absolute"), windows=windows, **self._numbers)  # pyright: ignore[reportArgumentType]

    @property
    def _rule_options(self) -> tuple[str, ...]:
        return ("curvature_samples", "averaging", "window_growth", "window_offset")
