"""The balance of noise and progress, and the windows, on numbers written by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from curvestep._records import Outcome
from curvestep.steprules import (
    CurvatureRescaling,
    Need,
    NoiseBalance,
    Probe,
    RuleState,
    StepChoice,
    WindowReading,
    Windows,
)

#: Slope 12 and curvature 2 along a direction of length 1: r = 12, a step of 6 at ℓ = ½.
PROBE = Probe(18.0, 12.0, 2.0, 2.0, 1.0, 9.0)
#: N = ½ · 0.25, p = 2.5 / ln 5, α = 2.
READING = WindowReading(5, 0, 2.0, 4.5, 2.1, -2.0, 0.0, None, 1.0, 1.0, 1.0, 0.25, 1.0, 0.25)


def rule(bounded: bool = True) -> NoiseBalance:
    return NoiseBalance(CurvatureRescaling(beta3=0.0), bounded=bounded)


def taken(choice: object) -> StepChoice:
    assert isinstance(choice, StepChoice)
    return choice


def after(steps: int, own: NoiseBalance, **numbers: float) -> RuleState:
    state = own.init()
    for _ in range(steps):
        state = taken(own.choose(PROBE, 0.5, state)).state
    return {**state, **{f"balance_{name}": value for name, value in numbers.items()}}


def scaled(reading: WindowReading, own: NoiseBalance | None = None, **numbers: float) -> float:
    """The factor by which the scale moves after five steps at the scale."""
    own = own or rule()
    state = after(5, own, **numbers)
    return float(own.learn(reading, state)["balance_scale"]) / float(state["balance_scale"])


def with_balance(factor: float, **others: float | None) -> WindowReading:
    """A reading that asks for this factor: 0.015 √5 p / N = factor²."""
    noise = 0.015 * math.sqrt(5.0) * READING.progress / factor**2
    return replace(READING, iterate_curvature=2.0 * noise, **others)  # pyright: ignore[reportArgumentType]


def test_windows_grow_with_the_run() -> None:
    assert Windows().end(0) == 5 and Windows().end(5) == 11 and Windows().end(92) == 120
    assert Windows(1.0, 3).end(6) == 9


@pytest.mark.parametrize(("growth", "offset"), [(0.9, 5), (float("nan"), 5), (True, 5), (1.25, 0), (1.25, 1.5)])
def test_windows_that_would_not_end_are_refused(growth: float, offset: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Windows(growth, offset)


def test_the_step_is_the_shorter_of_scale_and_bound() -> None:
    own = rule()
    first = taken(own.choose(PROBE, 0.5, own.init()))
    assert first.rescaling == pytest.approx(0.1 * 12.0) and first.outcome is Outcome.WINDOW_SCALE
    long = taken(own.choose(PROBE, 0.5, after(1, own, scale=100.0)))
    assert long.rescaling == pytest.approx(12.0) and long.outcome is Outcome.TAKEN
    shorter = taken(own.choose(replace(PROBE, slope=2.0), 0.5, after(1, own, scale=100.0)))
    assert shorter.rescaling == pytest.approx(0.9 * 12.0 + 0.1 * 2.0)


def test_without_a_bound_only_the_first_step_is_measured() -> None:
    own = rule(bounded=False)
    assert Need.ABSOLUTE_CURVATURE in own.needs_at(own.init())
    state = after(1, own)
    assert own.needs_at(state) == {Need.SLOPE}
    choice = taken(own.choose(Probe(1.0, 1e-9, None, None, 1.0, 9.0), 0.5, state))
    assert choice.rescaling == pytest.approx(1.2)


@pytest.mark.parametrize("ell", [0.125, 0.5, 2.0])
def test_a_schedule_of_the_level_scales_the_step(ell: float) -> None:
    own = rule()
    assert taken(own.choose(PROBE, ell, after(1, own))).rescaling == pytest.approx(1.2)


@pytest.mark.parametrize(("wanted", "factor"), [(0.8, 0.8), (1.3, 1.3), (0.1, 0.5), (9.0, 2.0), (1.0, 1.0)])
def test_the_factor_is_the_root_of_the_ratio_within_its_limits(wanted: float, factor: float) -> None:
    assert scaled(with_balance(wanted)) == pytest.approx(factor)


def test_past_windows_count_by_half_each() -> None:
    once = with_balance(1.3)
    twice = scaled(once, noise=once.noise, progress=once.progress)
    assert twice == pytest.approx(1.3)  # both are averaged alike
    other = scaled(once, noise=4.0 * once.noise, progress=once.progress)
    assert other == pytest.approx(1.3 * math.sqrt(1.5 / 3.0))


def test_the_scale_moves_only_as_far_as_the_error_of_the_progress_allows() -> None:
    error = READING.folds * READING.progress  # the standard error of p is p itself: half of it counts
    assert scaled(with_balance(0.9, slope_error=error)) == 1.0
    assert scaled(with_balance(0.5 / 0.9, slope_error=error)) == pytest.approx(0.5 / 0.9 * math.sqrt(1.5))
    assert scaled(with_balance(1.6, slope_error=error)) == pytest.approx(1.6 * math.sqrt(0.5))
    # The larger of the two estimates counts.
    assert scaled(with_balance(0.9, slope_error=0.0, slope_spread=error)) == 1.0


def test_a_minimum_that_lies_behind_shortens_the_scale() -> None:
    assert scaled(with_balance(1.3, slope=0.3)) == pytest.approx(0.7)
    assert scaled(with_balance(1.3, slope=0.3, slope_error=0.1)) == pytest.approx(0.8)
    assert scaled(with_balance(1.3, slope=5.0)) == pytest.approx(0.5)


def test_after_its_first_turn_the_scale_moves_by_a_quarter_at_most() -> None:
    assert scaled(with_balance(1.9), turn=1) == pytest.approx(1.9)  # no turn
    assert scaled(with_balance(1.9), turn=-1) == pytest.approx(1.25)
    assert scaled(with_balance(0.5), turn=1) == pytest.approx(0.8)
    assert scaled(with_balance(1.9), turn=1, settled=1) == pytest.approx(1.25)


def test_where_the_bound_decided_the_scale_does_not_run_away() -> None:
    own = rule()
    state = after(5, own, scale=100.0, used=5 * 6.0)
    assert own.learn(with_balance(1.3), state)["balance_scale"] == pytest.approx(12.0 * 1.3)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"loss_before": 1.0}, 0.5),  # the average has lost
        ({"loss_before": 1.0, "iterate_curvature": -1.0}, 1.0),
        ({"iterate_curvature": 0.0}, 2.0),
        ({"curvature": float("nan")}, 0.5),
        ({"loss_at_iterate": float("inf")}, 0.5),
    ],
)
def test_readings_without_a_ratio(changes: dict[str, float], factor: float) -> None:
    assert scaled(replace(READING, **changes)) == pytest.approx(factor)  # pyright: ignore[reportArgumentType]


def test_a_window_ends_once_and_the_next_begins() -> None:
    own = rule()
    for steps in range(6):
        assert own.ends_window(after(steps, own)) == (steps >= 5)
    state = own.learn(READING, after(5, own))
    assert not own.ends_window(state) and own.window(state) == (5, 5)
    assert all(type(value) in (int, float) for value in state.values())


def test_a_refused_step_leaves_the_state() -> None:
    for own in (rule(), rule(bounded=False)):
        state = after(2, own)
        for probe in (replace(PROBE, direction_norm_sq=0.0), replace(PROBE, slope=float("nan"))):
            choice = taken(own.choose(probe, 0.5, state))
            assert choice.state == state and not choice.advances


def test_a_reading_whose_curvature_is_zero_says_nothing_of_the_minimum() -> None:
    flat = replace(READING, curvature=0.0)
    assert flat.further is None and flat.is_finite
    assert replace(READING, slope=float("nan")).is_finite is False
    assert replace(READING, step=1, start=0).progress == 0.0
