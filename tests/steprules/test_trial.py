"""The trial of a first scale: when it is on, what is too long, and the state with which a run begins again."""

from __future__ import annotations

import math
from typing import Any

import pytest

from curvestep.steprules import CurvatureRescaling, NoiseBalance, Probe, RuleState, Trial, WindowReading

#: b of the first step is ½: slope 4, ‖d‖² = 1 and L = 8.
PROBE = Probe(18.0, 4.0, 8.0, 8.0, 1.0, 9.0)


def after(steps: int, weight_size: float, **numbers: Any) -> tuple[NoiseBalance, RuleState]:
    rule = NoiseBalance(CurvatureRescaling(), **numbers)
    state = rule.init()
    for _ in range(steps):
        choice = rule.choose(Probe(**{**vars(PROBE), "weight_size": weight_size}), 0.5, state)
        assert not isinstance(choice, tuple)
        state = choice.state  # pyright: ignore[reportAttributeAccessIssue]
    return rule, state


def reading(before: float, loss: float, start: int = 0, noise: float = 0.0) -> WindowReading:
    return WindowReading(40, start, loss, before, None, None, None, None, None, None, 1.0, 2.0 * noise, 1.0, 0.25)


@pytest.mark.parametrize(
    ("weight_size", "is_on"),
    [(2.99 / 0.07, False), (3.01 / 0.07, True), (1e4, True), (0.0, False), (1e-9, False)],
)
def test_a_first_scale_is_on_trial_after_ten_steps_where_it_is_above_six_first_steps(
    weight_size: float, is_on: bool
) -> None:
    for steps in (0, 1, 9, 10, 11):
        rule, state = after(steps, weight_size)
        assert rule.trial(state) == ((0.1,) if is_on and steps == 10 else ())
        if steps == 0:
            continue
        assert state["balance_bound"] == pytest.approx(0.5)
        assert (rule.judge_window(reading(1.0, 2.0), state) is not None) is is_on
        assert rule.judge_window(reading(1.0, 2.0, start=40), {**state, "balance_start": 40}) is None


def test_a_first_step_that_is_the_longest_says_nothing_of_the_scale() -> None:
    rule = NoiseBalance(CurvatureRescaling())
    state = rule.init()
    for _ in range(10):
        probe = Probe(18.0, 4.0, 0.0, 0.0, 1.0, 9.0, weight_size=1e4)
        state = rule.choose(probe, 0.5, state).state  # pyright: ignore[reportAttributeAccessIssue]
    assert state["balance_bound"] == 0.0 and rule.trial(state) == ()


@pytest.mark.parametrize(
    ("nearer", "there", "expected"),
    [
        (1.0, 1.004, False),
        (1.0, 1.006, True),
        (-1.0, -0.994, True),
        (-1.0, -0.996, False),
        (0.0, 1e-9, True),
        (0.0, 0.0, False),
        (1.0, math.inf, True),
        (1.0, math.nan, True),
        (math.nan, 1.0, False),
        (math.inf, math.nan, False),
    ],
)
def test_a_loss_is_above_another_by_half_a_hundredth(nearer: float, there: float, expected: bool) -> None:
    assert Trial().is_too_long(nearer, there) is expected
    rule, state = after(10, 1e4)
    assert (rule.judge(there, [nearer], state) is not None) is expected


@pytest.mark.parametrize(
    ("won", "noise", "expected"),
    [
        (1.0, 0.27, False),  # p = 1 / ln 40 = 0.271
        (1.0, 0.28, True),
        (1.0, -0.28, True),
        (0.0, 0.0, False),
        (-0.005, 0.0, True),  # below zero, though not by half a hundredth
        (-1.0, 0.0, True),
        (1.0, math.inf, True),
        (-math.inf, 0.0, True),
    ],
)
def test_a_first_window_is_too_long_where_it_won_less_than_its_noise_costs(
    won: float, noise: float, expected: bool
) -> None:
    rule, state = after(10, 1e4)
    found = rule.judge_window(reading(2.0, 2.0 - won, noise=noise), state)
    assert (found is not None) is expected
    for bad in (math.nan, math.inf):  # a batch that is not finite where the run began says nothing of the steps
        assert rule.judge_window(reading(bad, 2.0 - won, noise=noise), state) is None


def test_a_run_that_begins_again_has_a_tenth_of_the_first_step_and_is_not_on_trial_any_more() -> None:
    rule, state = after(10, 1e4)
    assert state["balance_first"] == pytest.approx(5.0)  # held to ten first steps
    again = rule.judge(2.0, [1.0], state)
    assert again is not None and again == rule.judge_window(reading(1.0, 2.0), state)
    fresh = {name: 0 for name in rule.init()}
    expected = {**fresh, "balance_end": 40, "balance_first": 0.05, "balance_scale": 0.05, "balance_bound": 0.5}
    assert {n: v for n, v in again.items() if n.startswith("balance_")} == pytest.approx(
        {n: v for n, v in expected.items() if n.startswith("balance_")}
    )
    for _ in range(10):
        again = rule.choose(PROBE, 0.5, again).state  # pyright: ignore[reportAttributeAccessIssue]
    assert rule.trial(again) == () and rule.judge_window(reading(1.0, 2.0), again) is None


@pytest.mark.parametrize(
    "numbers",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"steps": True},
        {"share": 0.0},
        {"share": 1.5},
        {"worse": -0.1},
        {"worse": math.nan},
        {"back": 0.0},
        {"back": 6.5},
        {"back": math.nan},
        {"beyond": 0.0},
        {"beyond": math.nan},
    ],
)
def test_a_number_out_of_range_is_refused(numbers: dict[str, Any]) -> None:
    (name,) = numbers
    with pytest.raises(ValueError, match=f"{name} must be a"):
        Trial(**numbers)


def test_no_scale_is_beyond_infinity() -> None:
    assert Trial().is_on(6.1, 1.0) and not Trial().is_on(6.0, 1.0)
    assert not Trial(beyond=math.inf).is_on(1e300, 1e-300)
