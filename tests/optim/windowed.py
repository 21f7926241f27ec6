"""Optimizers of the tests: Auto with short windows, and its parts with every number of the reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from torch.optim.optimizer import ParamsT

from curvestep.directions import Adam, Direction
from curvestep.optim import Auto
from curvestep.optim._average import AVERAGING, WINDOW_GROWTH
from curvestep.optim._commit import RULE_STATE
from curvestep.optim._windowed import WINDOW_OFFSET, AbstractWindowedOptimizer
from curvestep.steprules import (
    CurvatureRescaling,
    LineRequest,
    Need,
    NoiseBalance,
    Probe,
    RuleState,
    StepChoice,
    WindowNeed,
    WindowReading,
    WindowRule,
    Windows,
)

_ADAM = Adam(0.9, 0.99, 1e-8)


def short_auto(params: ParamsT, window_growth: float = 1.25, window_offset: int = 5) -> Auto:
    """Return Auto with windows that end at steps 5, 11, 18, 27, …, so that a short run has several."""
    optimizer = Auto(params)
    for group in optimizer.param_groups:
        group.update(window_growth=window_growth, window_offset=window_offset)
        group[RULE_STATE] = {**group[RULE_STATE], "balance_end": window_offset}
    return optimizer


@final
@dataclass(frozen=True)
class ReadsAll:
    """A balance that is told every number of a window."""

    rule: NoiseBalance

    @property
    def needs(self) -> frozenset[Need]:
        return self.rule.needs

    @property
    def window_needs(self) -> frozenset[WindowNeed]:
        return frozenset(WindowNeed)

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        return self.rule.needs_at(state)

    def init(self) -> RuleState:
        return self.rule.init()

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        return self.rule.choose(probe, ell, state)

    def ends_window(self, state: RuleState) -> bool:
        return self.rule.ends_window(state)

    def window(self, state: RuleState) -> tuple[int, int]:
        return self.rule.window(state)

    def trial(self, state: RuleState) -> tuple[float, ...]:
        return self.rule.trial(state)

    def judge(self, loss: float, along: Sequence[float], state: RuleState) -> RuleState | None:
        return self.rule.judge(loss, along, state)

    def judge_window(self, reading: WindowReading, state: RuleState) -> RuleState | None:
        return self.rule.judge_window(reading, state)

    def learn(self, reading: WindowReading, state: RuleState) -> RuleState:
        return self.rule.learn(reading, state)


@final
class WindowedAdam(AbstractWindowedOptimizer):
    """Adam's direction, windows that the caller chooses."""

    _announces_whole_batch = False

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.5,
        *,
        weight_decay: float = 0.0,
        decoupled_weight_decay: float = 0.0,
        window_growth: float = 1.25,
        window_offset: int = 5,
        first: float = 0.07,
    ) -> None:
        options = {
            "lr": lr,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            AVERAGING: 8.0,
            WINDOW_GROWTH: window_growth,
            WINDOW_OFFSET: window_offset,
            "first": first,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        del group
        return _ADAM

    def _rule(self, groups: Sequence[dict[str, Any]]) -> WindowRule:
        windows = Windows(groups[0][WINDOW_GROWTH], groups[0][WINDOW_OFFSET])
        rule = CurvatureRescaling(slope="absolute")
        return ReadsAll(NoiseBalance(rule, first=groups[0]["first"], windows=windows))

    @property
    def _rule_options(self) -> tuple[str, ...]:
        return (AVERAGING, WINDOW_GROWTH, WINDOW_OFFSET, "first")
