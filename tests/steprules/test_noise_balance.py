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
    WindowNeed,
    WindowReading,
    Windows,
)

#: Slope 12 and curvature 2 along a direction of length 1: r = 12, a step of 6 at ℓ = ½.
PROBE = Probe(18.0, 12.0, 2.0, 2.0, 1.0, 9.0)
SIZED = replace(PROBE, weight_size=10.0)
#: N = ½ · 0.25, p = 2.5 / ln 5, α = 2.
READING = WindowReading(5, 0, 2.0, 4.5, 2.1, -2.0, 0.0, None, 1.0, 1.0, 1.0, 0.25, 1.0, 0.25)


def rule(**numbers: float) -> NoiseBalance:
    return NoiseBalance(CurvatureRescaling(beta3=0.0), windows=Windows(1.25, 5), **numbers)  # pyright: ignore[reportArgumentType]


def taken(choice: object) -> StepChoice:
    assert isinstance(choice, StepChoice)
    return choice


def after(steps: int, own: NoiseBalance, **numbers: float) -> RuleState:
    state = own.init()
    for _ in range(steps):
        state = taken(own.choose(PROBE, 0.5, state)).state
    return {**state, **{f"balance_{name}": value for name, value in numbers.items()}}


def scaled(reading: WindowReading, own: NoiseBalance | None = None, **numbers: float) -> float:
    """The factor by which the scale moves after five steps at the scale; the whole way to balance unless said."""
    own = own or rule(gain=1.0)
    state = after(5, own, **numbers)
    return float(own.learn(reading, state)["balance_scale"]) / float(state["balance_scale"])


def with_balance(factor: float, **others: float | None) -> WindowReading:
    """A reading that asks for this factor: 0.015 √5 p / N = factor²."""
    noise = 0.015 * math.sqrt(5.0) * READING.progress / factor**2
    return replace(READING, iterate_curvature=2.0 * noise, **others)  # pyright: ignore[reportArgumentType]


def test_windows_grow_with_the_run() -> None:
    assert Windows().end(0) == 40 and Windows().end(40) == 92 and Windows().end(92) == 159
    assert Windows(1.0, 3).end(6) == 9


@pytest.mark.parametrize(("growth", "offset"), [(0.9, 5), (float("nan"), 5), (True, 5), (1.25, 0), (1.25, 1.5)])
def test_windows_that_would_not_end_are_refused(growth: float, offset: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Windows(growth, offset)


def test_only_the_first_step_asks_the_rule_inside_and_for_the_weights() -> None:
    own = rule(ramp=1)
    assert {Need.ABSOLUTE_CURVATURE, Need.WEIGHT_SIZE} <= own.needs_at(own.init())
    first = taken(own.choose(SIZED, 0.5, own.init()))
    assert first.rescaling == pytest.approx(2.0 * 0.07 * 10.0) and first.outcome is Outcome.WINDOW_SCALE
    assert own.needs_at(first.state) == {Need.SLOPE}
    assert own.window_needs == {WindowNeed.ITERATE_LOSS}
    later = taken(own.choose(Probe(1.0, 1e-9, None, None, 1.0, 9.0), 0.5, first.state))
    assert later.rescaling == pytest.approx(1.4)


@pytest.mark.parametrize(("size", "first"), [(10.0, 0.7), (1e4, 60.0), (1e-6, 0.2), (0.0, 1.8), (float("nan"), 1.8)])
def test_the_first_scale_is_relative_to_the_weights_and_guarded_by_the_first_step(size: float, first: float) -> None:
    """The first step of the rule inside is 6: s₀ lies between 0.2 and 60, and is 0.3 · 6 without weights."""
    own = rule()
    choice = taken(own.choose(replace(PROBE, weight_size=size), 0.5, own.init()))
    assert choice.state["balance_first"] == pytest.approx(first) == choice.state["balance_scale"]


def test_the_course_rises_over_the_ramp_and_falls_after_the_knee() -> None:
    own = rule()
    assert [own._course(k) for k in (1, 10, 20, 100, 1600)] == pytest.approx([0.05, 0.5, 1.0, 1.0, 0.5])
    state, sizes = own.init(), []
    for _ in range(3):
        choice = taken(own.choose(SIZED, 0.5, state))
        state = choice.state
        sizes.append(0.5 * choice.rescaling)
    assert sizes == pytest.approx([0.035, 0.07, 0.105]) and state["balance_scale"] == pytest.approx(0.7)


@pytest.mark.parametrize("ell", [0.125, 0.5, 2.0])
def test_a_schedule_of_the_level_scales_the_step(ell: float) -> None:
    own = rule(ramp=1)
    assert taken(own.choose(SIZED, ell, after(1, own))).rescaling == pytest.approx(3.6)


@pytest.mark.parametrize(("wanted", "factor"), [(0.8, 0.8), (1.3, 1.3), (0.1, 0.5), (9.0, 2.0), (1.0, 1.0)])
def test_the_factor_is_the_root_of_the_ratio_within_its_limits(wanted: float, factor: float) -> None:
    assert scaled(with_balance(wanted)) == pytest.approx(factor)


@pytest.mark.parametrize("curved", [0.0, 1e-3, -1e-3])
def test_where_the_loss_bends_in_kinks_alone_their_gap_is_the_noise(curved: float) -> None:
    """J(z) − J(x̄) − ⟨∇J, E⟩ = 2.5 − 2 − 0.3, more than ten times ½ EᵀHE."""
    kinked = replace(READING, loss_at_iterate=2.5, iterate_slope=0.3, iterate_curvature=curved)
    expected = math.sqrt(0.015 * math.sqrt(5.0) * READING.progress / 0.2)
    assert kinked.gap == pytest.approx(0.2) and scaled(kinked, rule(most=1e3, gain=1.0)) == pytest.approx(expected)
    rounded = replace(kinked, resolution=2.0**-6)  # 0.2 is less than eight roundings of a loss of 2
    assert scaled(rounded, rule(most=1e3, gain=1.0)) == scaled(
        replace(rounded, loss_at_iterate=None), rule(most=1e3, gain=1.0)
    )
    bent = replace(kinked, iterate_curvature=0.05)
    assert scaled(bent, rule(most=1e3, gain=1.0)) == pytest.approx(expected * math.sqrt(8.0))


def test_a_first_step_without_curvature_gives_a_shorter_first_scale() -> None:
    own = rule(ramp=1)
    flat = replace(PROBE, curvature=0.0, absolute_curvature=0.0)
    longest = taken(CurvatureRescaling(beta3=0.0).choose(flat, 0.5, CurvatureRescaling(beta3=0.0).init()))
    assert longest.outcome is Outcome.FLAT_CURVATURE
    assert taken(own.choose(flat, 0.5, own.init())).rescaling == pytest.approx(0.09 * longest.rescaling)
    sized = taken(own.choose(replace(flat, weight_size=2.0), 0.5, own.init()))
    assert sized.rescaling == pytest.approx(0.28)  # nothing to guard it by


def test_past_windows_count_by_half_each() -> None:
    once = with_balance(1.3)
    past = {"weight": 2.0, "readings": 9, "first_loss": 4.5}
    same = scaled(once, noise=2.0 * once.noise, progress=2.0 * once.progress, **past)
    assert same == pytest.approx(1.3)  # as after many windows like this one
    noisy = scaled(once, noise=4.0 * once.noise, progress=2.0 * once.progress, **past)
    assert noisy == pytest.approx(1.3 * math.sqrt(2.0 / 3.0))


def test_a_window_moves_the_scale_a_share_of_the_way_and_what_it_said_fades() -> None:
    own = rule()
    assert scaled(with_balance(1.3), own) == pytest.approx(1.3**0.4)
    there = own.first * 4.0
    state = {**after(5, own), "balance_first": there / 4.0, "balance_scale": there}
    moved = float(own.learn(with_balance(1.0), state)["balance_scale"])
    assert moved == pytest.approx(there / 4.0 * 4.0**0.7)


#: J fell from 10 to 2 and has stayed there: the floor of p is 0.03 · 2 = 0.06.
PLATEAU = {"readings": 1, "first_loss": 10.0}


def test_on_a_plateau_the_scale_doubles() -> None:
    still = replace(READING, loss_before=2.0, iterate_curvature=1e-4)
    assert scaled(still, **PLATEAU) == pytest.approx(2.0)
    # A plateau with noise in balance at the floor is none, nor is one whose loss certainly rises.
    noisy = replace(still, iterate_curvature=2.0 * 0.015 * math.sqrt(5.0) * 0.06)
    assert scaled(noisy, **PLATEAU) == pytest.approx(1.0)
    rising = replace(still, loss_before=1.9, slope_spread=0.01)
    assert scaled(rising, **PLATEAU) == pytest.approx(0.5)
    # Without a floor nothing is known of one.
    assert scaled(still, rule(floor=0.0, gain=1.0), **PLATEAU) == pytest.approx(0.5)


def test_the_floor_is_a_share_of_what_is_left_or_of_what_was_won_whichever_is_less() -> None:
    for first, share in ((10.0, 2.0), (2.5, 0.5), (2.0, 0.0), (1.0, 0.0)):
        own, slow = rule(most=1e6, gain=1.0), replace(READING, loss_before=2.0)
        expected = math.sqrt(0.015 * math.sqrt(5.0) * 0.03 * share / READING.noise) or 1e-6
        assert scaled(slow, own, readings=1, first_loss=first) == pytest.approx(expected)


def test_the_roof_is_a_share_of_the_loss() -> None:
    steep = replace(READING, loss_before=2.0 + 100.0 * READING.folds)
    found = scaled(steep, rule(most=1e6, gain=1.0))
    assert found == pytest.approx(math.sqrt(0.015 * math.sqrt(5.0) * 1.5 * 2.0 / READING.noise))
    debt = replace(steep, loss=-1.0, loss_at_iterate=-1.0, loss_before=-1.0 + 100.0 * READING.folds)
    below = scaled(debt, rule(most=1e6, gain=1.0))
    assert below == pytest.approx(math.sqrt(0.015 * math.sqrt(5.0) * 100.0 / READING.noise))  # no share of a debt


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"loss_before": 1.0}, 0.5),  # the average has lost
        ({"iterate_curvature": 0.0}, 2.0),
        ({"iterate_curvature": -0.25}, 0.5),  # a saddle is as little noise-free as a valley
        ({"curvature": float("nan")}, 0.5),
        ({"loss_at_iterate": float("inf")}, 0.5),
    ],
)
def test_readings_without_a_ratio(changes: dict[str, float], factor: float) -> None:
    assert scaled(replace(READING, **changes), rule(target=1e-3, gain=1.0)) == pytest.approx(factor)  # pyright: ignore[reportArgumentType]


def test_after_a_reading_that_is_not_finite_the_sums_begin_anew() -> None:
    own = rule()
    state = after(5, own, weight=1.5, noise=3.0, progress=7.0, variance=2.0)
    lost = own.learn(replace(READING, loss=float("inf")), state)
    assert lost["balance_scale"] == 0.5 * float(state["balance_scale"])
    again = own.learn(READING, {**lost, "balance_count": 5, "balance_start": 0})
    fresh = own.learn(READING, after(5, own))
    for name in ("noise", "progress", "variance", "weight"):
        assert again[f"balance_{name}"] == fresh[f"balance_{name}"]


@pytest.mark.parametrize(
    "numbers",
    [{"target": 0.0}, {"first": -1.0}, {"floor": -0.1}, {"roof": 0.0}, {"most": 1.0}, {"kinks": 0.0}, {"gain": 0.0},
     {"gain": 1.5}, {"leak": 1.0}, {"ramp": 0.5}, {"knee": 0}, {"fall": -0.1}, {"shortest": 0.0},
     {"longest": 0.01}, {"share": 2.0},
     {"keep": 1.0}, {"level": 0.0}, {"target": float("nan")}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(numbers: dict[str, float]) -> None:
    (name,) = numbers
    with pytest.raises(ValueError, match=f"{name}="):
        rule(**numbers)


def test_a_window_ends_once_and_the_next_begins() -> None:
    own = rule()
    for steps in range(6):
        assert own.ends_window(after(steps, own)) == (steps >= 5)
    state = own.learn(READING, after(5, own))
    assert not own.ends_window(state) and own.window(state) == (5, 5)
    assert all(type(value) in (int, float) for value in state.values())


def test_a_refused_step_leaves_the_state() -> None:
    own = rule()
    state = after(2, own)
    for probe in (replace(PROBE, direction_norm_sq=0.0), replace(PROBE, slope=float("nan"))):
        choice = taken(own.choose(probe, 0.5, state))
        assert choice.state == state and not choice.advances


def test_a_reading_whose_curvature_is_zero_says_nothing_of_the_minimum() -> None:
    flat = replace(READING, curvature=0.0)
    assert flat.further is None and flat.is_finite
    assert replace(READING, slope=float("nan")).is_finite is False
    assert replace(READING, step=1, start=0).progress == 0.0
