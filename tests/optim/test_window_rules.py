"""Another rule on the same readings: the scale that follows α alone, as the prototype of it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from benchmarks.league.prototypes.long import Long, Options
from curvestep import Outcome
from curvestep.directions import Adam, Direction
from curvestep.optim import AbstractWindowedOptimizer
from curvestep.steprules import Need, Probe, RuleState, StepChoice, WindowNeed, WindowReading, WindowRule, Windows
from tests.optim.problem import assert_close, make_problem

_START, _RAMP = 1e-1, 20


@dataclass(frozen=True)
class Further:
    """τ = s · min(k/20, 1), s ← s · (1 + α) held to [½, 2] at the ends of windows, σ shrunk by its standard error."""

    windows: Windows = Windows(1.25, 5)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.SLOPE})

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        del state
        return self.needs

    @property
    def window_needs(self) -> frozenset[WindowNeed]:
        return frozenset({WindowNeed.SLOPE, WindowNeed.CURVATURE})

    def init(self) -> RuleState:
        return {"count": 0, "start": 0, "end": self.windows.end(0), "scale": _START}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice:
        del probe
        count = int(state["count"]) + 1
        size = state["scale"] * min(1.0, count / _RAMP)
        return StepChoice(size / ell, None, Outcome.WINDOW_SCALE, {**state, "count": count}, advances=True)

    def ends_window(self, state: RuleState) -> bool:
        return state["count"] >= state["end"]

    def window(self, state: RuleState) -> tuple[int, int]:
        return int(state["start"]), int(state["count"])

    def trial(self, state: RuleState) -> tuple[float, ...]:
        del state
        return ()

    def judge(self, loss: float, along: Sequence[float], state: RuleState) -> None:
        raise AssertionError("no loss along the way was asked for")

    def judge_window(self, reading: WindowReading, state: RuleState) -> None:
        del reading, state

    def learn(self, reading: WindowReading, state: RuleState) -> RuleState:
        error = reading.slope_error or 0.0
        kept = max(0.0, 1.0 - (error / reading.slope) ** 2) if reading.slope else 0.0
        factor = min(max(1.0 + kept * (reading.further or 0.0), 0.5), 2.0)
        if reading.loss - reading.loss_before > 2.0 * error:
            factor = min(factor, 0.5)
        count = int(state["count"])
        return {"count": count, "start": count, "end": self.windows.end(count), "scale": factor * state["scale"]}


class FurtherAdam(AbstractWindowedOptimizer):
    """Adam's direction with that rule."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 1.0, "averaging": 8.0, "window_growth": 1.25})

    def _direction(self, group: dict[str, Any]) -> Direction:
        return Adam(0.9, 0.99, 1e-8)

    def _rule(self, groups: Sequence[dict[str, Any]]) -> WindowRule:
        return Further()

    @property
    def _rule_options(self) -> tuple[str, ...]:
        return ("averaging", "window_growth")


class Prototype(Long):
    """The prototype, with the error of a mean over samples, and the step that the library takes at a window's end."""

    steps_at_ends = True

    def _slope_error(self, tape: Any, direction: Any) -> float:
        slopes = [tape.curvature(self.parameters, direction, samples=[s]).slope for s in range(8)]
        return float(torch.stack(slopes).std() / 8.0**0.5)


def test_the_run_is_that_of_the_prototype() -> None:
    ours, theirs = make_problem(), make_problem()
    optimizer = FurtherAdam(ours.net.parameters())
    prototype = Prototype(list(theirs.net.parameters()), Options(start=_START, level=0.0, every=0))
    scales: list[float] = []
    for batch in range(100):
        ours.train(optimizer, range(batch, batch + 1))
        prototype.zero_grad()
        with prototype.record():
            theirs.loss(batch).backward()
        prototype.step()
        scales.append(optimizer.param_groups[0]["rule_state"]["scale"])
        assert scales[-1] == pytest.approx(prototype.s, rel=1e-7)  # the two round differently in every step
    factors = [after / before for before, after in zip(scales, scales[1:], strict=False) if after != before]
    assert sum(0.5 < factor < 2.0 for factor in factors) >= 3  # its limits alone would be no comparison
    assert_close(ours.parameters(), [p.detach() for p in theirs.net.parameters()], 1e-7)
