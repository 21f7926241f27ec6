"""The parabola's rule on losses of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from curvestep._probe import LineSample, Need, Probe
from curvestep._records import Outcome
from curvestep.steprules import LineRequest, LocalQuadratic, RuleState, StepChoice


def settle(
    rule: LocalQuadratic, value: Callable[[float], float], theta: float, slope: float, state: RuleState
) -> tuple[StepChoice, int]:
    """Answer the rule's requests along d = g until it chooses; return the choice and how many losses it asked for."""
    probe = Probe(value(theta), slope**2, None, None, slope**2, theta**2, slope**2)
    choice = rule.choose(probe, 0.5, state)
    while isinstance(choice, LineRequest):
        assert choice.along == "direction"
        samples = tuple(LineSample(step, value(theta - step * slope)) for step in choice.steps)
        probe = replace(probe, line=probe.line + samples)
        choice = rule.choose(probe, 0.5, state)
    return choice, len(probe.line)


def test_what_it_needs_depends_on_the_batch() -> None:
    search = {Need.LOSS, Need.SLOPE, Need.LINE, Need.PARAMETER_NORM}
    assert LocalQuadratic().needs == search
    assert LocalQuadratic(initial=1.0).needs == {Need.LOSS, Need.SLOPE, Need.LINE}
    assert LocalQuadratic(batch="next", initial=1.0).needs == {Need.LOSS, Need.SLOPE, Need.LINE, Need.LAST_STEP}


def test_between_measurements_it_needs_the_slope_alone() -> None:
    rule = LocalQuadratic(every=3)
    measured = {Need.LOSS, Need.SLOPE, Need.LINE}
    assert rule.needs_at(rule.init()) == measured | {Need.PARAMETER_NORM}
    needed = [rule.needs_at({"rescaling": 1.0, "step": 0.5, "count": count}) for count in range(7)]
    assert [found == measured for found in needed] == [True, False, False, True, False, False, True]
    assert all(found in (measured, {Need.SLOPE}) for found in needed)
    late = LocalQuadratic(batch="next", initial=1.0)  # before there was a step there is nothing to measure along
    assert late.needs_at(late.init()) == {Need.SLOPE}
    assert late.needs_at({"rescaling": 1.0, "step": 0.5, "count": 1}) == late.needs


@pytest.mark.parametrize("curvature", [1e-4, 1.0, 1e4])
def test_the_first_step_is_searched_over_the_scales(curvature: float) -> None:
    choice, asked = settle(LocalQuadratic(), lambda x: 0.5 * curvature * x**2, 1.0, curvature, LocalQuadratic().init())
    assert 0.5 * choice.rescaling == pytest.approx(1.0 / curvature, rel=1e-6)
    assert choice.outcome is Outcome.TAKEN
    assert 2 < asked <= 32


def test_after_the_first_step_two_losses_are_asked_for_as_far_as_the_last_step() -> None:
    rule = LocalQuadratic(probe=0.5)
    probe = Probe(1.0, 1.0, None, None, 1.0, 1.0)
    request = rule.choose(probe, 0.5, {"rescaling": 0.8, "step": 0.4, "count": 3})
    assert request == LineRequest((0.2, -0.2))


def test_a_losing_probe_is_drawn_in_by_quarters() -> None:
    # Beyond 0.3 ahead there is a wall; behind there is none. b < 0 though the slope is positive.
    value = lambda x: 0.5 * x**2 if x > 0.7 else 100.0  # noqa: E731
    choice, asked = settle(LocalQuadratic(), value, 1.0, 1.0, {"rescaling": 2.0, "step": 1.0, "count": 1})
    assert asked == 4  # at 1 and at ¼
    assert 0.5 * choice.rescaling == pytest.approx(1.0, rel=1e-12)


def test_losses_that_are_never_finite_end_in_no_step() -> None:
    value = lambda x: 0.5 if x == 1.0 else math.nan  # noqa: E731
    state: RuleState = {"rescaling": 2.0, "step": 1.0, "count": 1}
    choice, asked = settle(LocalQuadratic(), value, 1.0, 1.0, state)
    assert (choice.outcome, choice.advances, choice.state) == (Outcome.NON_FINITE_CURVATURE, False, state)
    assert asked == 32


def test_an_ascent_keeps_the_step_size() -> None:
    state: RuleState = {"rescaling": 2.0, "step": 1.0, "count": 1}
    rule = LocalQuadratic()
    probe = Probe(0.5, -1.0, None, None, 1.0, 1.0, line=(LineSample(1.0, 2.0), LineSample(-1.0, 0.0)))
    choice = rule.choose(probe, 0.5, state)
    assert isinstance(choice, StepChoice)
    assert (choice.rescaling, choice.outcome) == (2.0, Outcome.KEPT)


@pytest.mark.parametrize(("keep", "rescaling"), [(False, 6.0), (True, 2.0)])
def test_a_parabola_that_opens_down(keep: bool, rescaling: float) -> None:
    rule = LocalQuadratic(keep=keep, change=(0.5, 3.0))
    choice, _ = settle(rule, lambda x: -(x**2), 1.0, -2.0, {"rescaling": 2.0, "step": 1.0, "count": 1})
    assert (choice.rescaling, choice.outcome) == (rescaling, Outcome.OPENS_DOWN)


def test_a_tenth_of_the_way_within_the_clip() -> None:
    # δ⋆ = 1 from r = 2·0.3: the target 2 is held to twice r, and r goes a tenth of the way.
    rule = LocalQuadratic(smoothing=0.9, change=(0.5, 2.0), initial=0.3)
    choice, _ = settle(rule, lambda x: 0.5 * x**2, 1.0, 1.0, rule.init())
    assert choice.rescaling == pytest.approx(0.9 * 0.6 + 0.1 * 1.2, rel=1e-14)
    assert choice.state == pytest.approx({"rescaling": 0.66, "step": 0.33, "count": 1})


def test_the_last_step_is_judged_in_its_own_units() -> None:
    # The last step was τ = 0.25; on the fresh batch the losses at θ + 2u, θ + u and θ are 9, 4 and 1:
    # ρ⋆ = (9 − 1) / (2 (9 + 1 − 8)) = 2, so δ⋆ = 0.5 and r = 1.
    rule = LocalQuadratic(batch="next", initial=0.1, change=(0.1, 10.0))
    state: RuleState = {"rescaling": 0.5, "step": 0.25, "count": 1}
    probe = Probe(1.0, 1.0, None, None, 1.0, 1.0)
    assert rule.choose(probe, 0.5, state) == LineRequest((-1.0, -2.0), along="last step")
    answered = replace(probe, line=(LineSample(-1.0, 4.0), LineSample(-2.0, 9.0)))
    choice = rule.choose(answered, 0.5, state)
    assert isinstance(choice, StepChoice)
    assert choice.rescaling == pytest.approx(1.0, rel=1e-14)
    assert choice.state == pytest.approx({"rescaling": 1.0, "step": 0.5, "count": 2})
