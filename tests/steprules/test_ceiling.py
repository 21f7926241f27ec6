"""The ceiling: its height at every step, that it only lowers, and that the rule inside goes on as if alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules import Ceiling, CurvatureRescaling, Guard, Lazy, LineRequest, StepChoice


def probe(slope: float = 4.0, curvature: float = 8.0) -> Probe:
    return Probe(1.0, slope, curvature, curvature, direction_norm_sq=4.0, parameter_norm_sq=1.0)


def taken(choice: object) -> StepChoice:
    assert isinstance(choice, StepChoice)
    return choice


@pytest.mark.parametrize("ell", [0.25, 1.0])
def test_the_height_rises_along_a_line_and_falls_with_the_root(ell: float) -> None:
    rule = Ceiling(CurvatureRescaling(), peak=1e-3, warmup=4)  # far below the measured step ℓ · 2·4/8
    state = rule.init()
    for step in range(1, 30):
        choice = taken(rule.choose(probe(), ell, state))
        expected = 1e-3 * (step / 4 if step <= 4 else math.sqrt(4 / step))
        assert ell * choice.rescaling == pytest.approx(expected, rel=1e-14)
        assert choice.outcome is Outcome.UNDER_CEILING and choice.outcome.moved
        state = choice.state


def test_a_shorter_step_and_its_state_are_those_of_the_rule_inside() -> None:
    inner = CurvatureRescaling()
    rule = Ceiling(inner, peak=1e6, warmup=1)
    state, own = rule.init(), inner.init()
    for slope, curvature in ((4.0, 8.0), (-1.0, 3.0), (2.0, 0.5)):
        expected = inner.choose(probe(slope, curvature), 0.5, own)
        found = taken(rule.choose(probe(slope, curvature), 0.5, state))
        assert (found.rescaling, found.outcome, found.lipschitz) == (
            expected.rescaling,
            expected.outcome,
            expected.lipschitz,
        )
        own, state = expected.state, found.state
        assert {name: state[name] for name in own} == own


def test_a_lowered_step_does_not_change_what_the_rule_inside_learns() -> None:
    inner, rule = CurvatureRescaling(), Ceiling(CurvatureRescaling(), peak=1e-9, warmup=1)
    state, own = rule.init(), inner.init()
    for curvature in (8.0, 2.0, 5.0):
        own, state = (
            inner.choose(probe(4.0, curvature), 0.5, own).state,
            taken(rule.choose(probe(4.0, curvature), 0.5, state)).state,
        )
        assert {name: state[name] for name in own} == own


def test_a_refusal_counts_no_step() -> None:
    rule = Ceiling(CurvatureRescaling(), peak=1.0)
    state = taken(rule.choose(probe(), 0.5, rule.init())).state
    refused = taken(rule.choose(probe(math.nan), 0.5, state))
    assert refused.outcome is Outcome.NON_FINITE_CURVATURE and refused.state == state


def test_what_is_needed_is_what_the_rule_inside_needs() -> None:
    assert Ceiling(CurvatureRescaling(), peak=1.0).needs == CurvatureRescaling().needs
    lazy = Ceiling(Lazy(CurvatureRescaling(), every=2, growth=1), peak=1.0)
    assert lazy.needs_at(lazy.init()) == lazy.needs
    state = taken(lazy.choose(probe(), 0.5, lazy.init())).state
    assert lazy.needs_at(state) == {Need.SLOPE}, "The norm of the parameters is measured once."
    unlimited = Ceiling(Lazy(CurvatureRescaling(max_relative_step=math.inf), every=2, growth=1), peak=1.0)
    assert unlimited.needs_at(state) == {Need.SLOPE}
    guarded = Ceiling(Guard(CurvatureRescaling()), peak=1.0)
    assert isinstance(guarded.choose(probe(), 0.5, guarded.init()), LineRequest)


def test_it_holds_a_step_that_nothing_else_does() -> None:
    flat = replace(probe(), curvature=0.0, absolute_curvature=0.0, parameter_norm_sq=math.nan)
    rule = Ceiling(CurvatureRescaling(max_relative_step=math.inf), peak=1.0, warmup=1)
    choice = taken(rule.choose(flat, 0.5, rule.init()))
    assert 0.5 * choice.rescaling == 1.0
    assert choice.outcome is Outcome.UNDER_CEILING


@pytest.mark.parametrize("option", [{"peak": 0.0}, {"peak": math.inf}, {"warmup": 0}, {"warmup": 1.5}])
def test_what_is_no_ceiling_is_refused(option: dict[str, float]) -> None:
    options: dict[str, float] = {"peak": 1.0, **option}
    with pytest.raises(ValueError, match=rf"{next(iter(option))}=.* was given"):
        Ceiling(CurvatureRescaling(), **options)  # pyright: ignore[reportArgumentType]
