"""Algorithm 1 on probes written by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules import CurvatureRescaling

# J = ½ · 4 θ² at θ = 3 with d = g = 12: slope 144, dᵀ∇²J d = 4 · 144.
PARABOLA = Probe(
    loss=18.0,
    slope=144.0,
    curvature=576.0,
    absolute_curvature=576.0,
    direction_norm_sq=144.0,
    parameter_norm_sq=9.0,
)


def test_it_asks_for_the_slope_and_the_absolute_curvature() -> None:
    assert {Need.SLOPE, Need.ABSOLUTE_CURVATURE} <= CurvatureRescaling().needs


def test_the_first_step_is_twice_the_distance_to_the_minimum_per_level() -> None:
    rule = CurvatureRescaling()
    choice = rule.choose(PARABOLA, ell=1.0, state=rule.init())
    assert choice.outcome is Outcome.TAKEN
    assert choice.lipschitz == pytest.approx(4.0, rel=1e-15)
    assert choice.rescaling == pytest.approx(2 * 144 / (144 * 4), rel=1e-15)


def test_the_printed_constant_is_available() -> None:
    rule = CurvatureRescaling(constant=0.5)
    choice = rule.choose(PARABOLA, ell=1.0, state=rule.init())
    assert choice.rescaling == pytest.approx(144 / (2 * 144 * 4), rel=1e-15)


def test_two_steps_by_hand() -> None:
    # c = 4, then c = 1: ĉ = 0.4, then 0.9·0.4 + 0.1·1 = 0.46; c̃ = 0.46 / (1 − 0.81) = 2.421…, above c = 1.
    rule = CurvatureRescaling(beta3=0.9)
    first = rule.choose(PARABOLA, ell=1.0, state=rule.init())
    second = rule.choose(replace(PARABOLA, absolute_curvature=144.0), ell=1.0, state=first.state)
    assert first.state == pytest.approx({"average": 0.4, "count": 1, "reach": 3.0})
    assert second.state == pytest.approx({"average": 0.46, "count": 2, "reach": 3.0})
    assert second.lipschitz == pytest.approx(0.46 / 0.19, rel=1e-14)


def test_the_cap_does_not_grow_with_the_parameters_that_it_caps() -> None:
    rule = CurvatureRescaling(max_relative_step=2.0)
    flat = replace(PARABOLA, absolute_curvature=0.0)
    state, lengths = rule.init(), []
    for norm_sq in (9.0, 81.0, 6561.0):
        choice = rule.choose(replace(flat, parameter_norm_sq=norm_sq), 1.0, state)
        state = choice.state
        lengths.append(choice.rescaling * 12.0)
    assert lengths == pytest.approx([6.0, 6.0, 6.0], rel=1e-14)
    assert Need.PARAMETER_NORM in rule.needs_at(rule.init())
    assert Need.PARAMETER_NORM not in rule.needs_at(state)


def test_a_rise_of_the_curvature_is_followed_at_once() -> None:
    rule = CurvatureRescaling(beta3=0.9)
    first = rule.choose(PARABOLA, ell=1.0, state=rule.init())
    second = rule.choose(replace(PARABOLA, absolute_curvature=100 * 576.0), ell=1.0, state=first.state)
    assert second.lipschitz == pytest.approx(400.0, rel=1e-15)


def test_samples_that_cancel_do_not_make_the_step_longer() -> None:
    # The signed mean is zero, the mean of the absolute values is not, and it is the latter that counts.
    rule = CurvatureRescaling()
    choice = rule.choose(replace(PARABOLA, curvature=0.0), ell=1.0, state=rule.init())
    assert choice.rescaling == pytest.approx(0.5, rel=1e-15)


@given(
    scale=st.floats(1e-6, 1e6),
    curvatures=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6),
    ell=st.sampled_from([0.05, 0.5, 1.0, 2.0]),
)
def test_the_step_does_not_depend_on_the_length_of_the_direction(
    scale: float, curvatures: list[float], ell: float
) -> None:
    rule = CurvatureRescaling()
    state, scaled_state = rule.init(), rule.init()
    for curvature in curvatures:
        probe = replace(PARABOLA, absolute_curvature=curvature * 144.0)
        longer = replace(
            probe,
            slope=probe.slope * scale,
            absolute_curvature=curvature * 144.0 * scale**2,
            direction_norm_sq=144.0 * scale**2,
        )
        choice, scaled = rule.choose(probe, ell, state), rule.choose(longer, ell, scaled_state)
        # A dozen float64 operations in each: 1e-13 leaves room for all of them.
        assert scaled.rescaling * scale == pytest.approx(choice.rescaling, rel=1e-13)
        assert scaled.outcome is choice.outcome
        state, scaled_state = choice.state, scaled.state


@pytest.mark.parametrize("ell", [0.05, 1.0, 2.0])
@pytest.mark.parametrize("parameter_norm_sq", [0.0, 0.25, 100.0])
@pytest.mark.parametrize("curvature", [0.0, 5e-324, 1e-300, 1e-9])
def test_flat_curvature_is_held_by_the_cap(ell: float, parameter_norm_sq: float, curvature: float) -> None:
    rule = CurvatureRescaling(max_relative_step=3.0)
    probe = replace(PARABOLA, absolute_curvature=curvature, parameter_norm_sq=parameter_norm_sq)
    choice = rule.choose(probe, ell, rule.init())
    length = ell * choice.rescaling * math.sqrt(PARABOLA.direction_norm_sq)
    assert length == pytest.approx(3.0 * max(math.sqrt(parameter_norm_sq), 1.0), rel=1e-14)
    assert choice.outcome in (Outcome.FLAT_CURVATURE, Outcome.CLAMPED)
    assert choice.outcome.moved


def test_zero_curvature_is_called_flat_and_a_long_step_clamped() -> None:
    rule = CurvatureRescaling()
    flat = rule.choose(replace(PARABOLA, absolute_curvature=0.0), 1.0, rule.init())
    long = rule.choose(replace(PARABOLA, absolute_curvature=1e-3), 1.0, rule.init())
    assert (flat.outcome, long.outcome) == (Outcome.FLAT_CURVATURE, Outcome.CLAMPED)


def test_zero_slope_is_no_step_even_where_it_is_flat() -> None:
    rule = CurvatureRescaling()
    for curvature in (0.0, 576.0):
        choice = rule.choose(replace(PARABOLA, slope=0.0, absolute_curvature=curvature), 1.0, rule.init())
        assert (choice.rescaling, choice.outcome) == (0.0, Outcome.TAKEN)


def test_ascent_with_the_signed_slope_stays_and_remembers() -> None:
    rule = CurvatureRescaling(slope="signed")
    choice = rule.choose(replace(PARABOLA, slope=-144.0), 1.0, rule.init())
    assert choice.outcome is Outcome.ASCENT_DIRECTION
    assert not choice.outcome.moved
    assert choice.rescaling == 0.0
    assert choice.advances and choice.state["count"] == 1


def test_ascent_with_the_absolute_slope_takes_the_opposite_direction_s_step() -> None:
    rule = CurvatureRescaling(slope="absolute")
    uphill = rule.choose(replace(PARABOLA, slope=-144.0), 1.0, rule.init())
    downhill = rule.choose(PARABOLA, 1.0, rule.init())
    assert uphill.rescaling == downhill.rescaling > 0.0
    assert (uphill.outcome, downhill.outcome) == (Outcome.ABSOLUTE_SLOPE, Outcome.TAKEN)


def test_the_smoothed_slope_by_hand() -> None:
    # s = 144 / 12 = 12, then −12: ŝ = 1.2, then 0.9·1.2 − 0.1·12 = −0.12; s̃ = 12, then −0.12 / 0.19.
    rule = CurvatureRescaling(slope="smoothed")
    first = rule.choose(PARABOLA, 1.0, rule.init())
    assert first.rescaling == pytest.approx(0.5, rel=1e-15)  # one term: the signed slope itself
    assert first.state == pytest.approx({"average": 0.4, "count": 1, "slope": 1.2, "reach": 3.0})
    second = rule.choose(replace(PARABOLA, slope=-144.0), 1.0, first.state)
    assert (second.rescaling, second.outcome, second.advances) == (0.0, Outcome.ASCENT_DIRECTION, True)
    assert second.state["slope"] == pytest.approx(-0.12, rel=1e-13)
    third = rule.choose(PARABOLA, 1.0, second.state)
    smoothed = (0.9 * -0.12 + 0.1 * 12.0) / (1 - 0.9**3)
    assert third.rescaling == pytest.approx(2 * smoothed * 12.0 / (144 * 4), rel=1e-13)


def test_a_smoothed_slope_may_descend_where_this_batch_s_ascends() -> None:
    rule = CurvatureRescaling(slope="smoothed")
    state = rule.choose(PARABOLA, 1.0, rule.init()).state
    choice = rule.choose(replace(PARABOLA, slope=-14.4), 1.0, state)
    assert choice.outcome is Outcome.TAKEN
    assert choice.rescaling == pytest.approx(2 * (0.9 * 1.2 - 0.12) / 0.19 * 12 / (144 * 4), rel=1e-13)


def test_the_smoothed_slope_does_not_depend_on_the_lengths_of_the_directions() -> None:
    rule = CurvatureRescaling(slope="smoothed")
    state, scaled_state = rule.init(), rule.init()
    for k, scale in enumerate((1.0, 64.0, 0.125), start=1):
        probe = replace(PARABOLA, slope=144.0 / k)
        longer = replace(
            probe,
            slope=probe.slope * scale,
            absolute_curvature=576.0 * scale**2,
            direction_norm_sq=144.0 * scale**2,
        )
        choice, scaled = rule.choose(probe, 1.0, state), rule.choose(longer, 1.0, scaled_state)
        assert scaled.rescaling * scale == pytest.approx(choice.rescaling, rel=1e-14)
        state, scaled_state = choice.state, scaled.state


def test_the_floor_holds_the_curvature_up() -> None:
    rule = CurvatureRescaling(floor=16.0)
    choice = rule.choose(PARABOLA, 1.0, rule.init())
    assert (choice.lipschitz, choice.rescaling) == (16.0, 2 * 144 / (144 * 16.0))
    flat = rule.choose(replace(PARABOLA, absolute_curvature=0.0), 1.0, rule.init())
    assert (flat.outcome, flat.rescaling) == (Outcome.TAKEN, choice.rescaling)
    assert CurvatureRescaling(floor=2.0).choose(PARABOLA, 1.0, rule.init()).lipschitz == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("band", "ell", "step", "outcome"),
    [
        ((0.1, 1.0, 0.75), 1.0, 0.5, Outcome.TAKEN),
        ((0.1, 0.25, 0.75), 1.0, 0.25, Outcome.OUT_OF_BAND),
        ((0.1, 0.25, 0.75), 0.5, 0.25, Outcome.TAKEN),
        ((0.6, 0.7, 0.75), 0.5, 0.6, Outcome.OUT_OF_BAND),
    ],
)
def test_the_band_at_the_first_step(
    band: tuple[float, float, float], ell: float, step: float, outcome: Outcome
) -> None:
    rule = CurvatureRescaling(band=band)
    choice = rule.choose(PARABOLA, ell, rule.init())
    assert (ell * choice.rescaling, choice.outcome) == (pytest.approx(step, rel=1e-14), outcome)


def test_the_band_falls_with_the_steps_and_holds_flat_curvature_too() -> None:
    rule = CurvatureRescaling(band=(1e-3, 0.4, 0.6))
    state = rule.init()
    for k in range(1, 6):
        choice = rule.choose(replace(PARABOLA, absolute_curvature=0.0), 0.5, state)
        assert 0.5 * choice.rescaling == pytest.approx(0.4 * k**-0.6, rel=1e-14)  # equation (12)
        assert choice.outcome is Outcome.OUT_OF_BAND
        state = choice.state


def test_the_band_gives_no_step_where_there_is_no_slope_and_never_beats_the_cap() -> None:
    rule = CurvatureRescaling(band=(1e9, 1e9, 0.75), max_relative_step=2.0)
    assert rule.choose(replace(PARABOLA, slope=0.0), 1.0, rule.init()).rescaling == 0.0
    choice = rule.choose(PARABOLA, 1.0, rule.init())
    assert (choice.rescaling, choice.outcome) == (2.0 * 3.0 / 12.0, Outcome.CLAMPED)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["slope", "absolute_curvature", "direction_norm_sq"])
def test_what_is_not_finite_changes_nothing(name: str, bad: float) -> None:
    rule = CurvatureRescaling()
    state = rule.choose(PARABOLA, 1.0, rule.init()).state
    before = dict(state)
    choice = rule.choose(replace(PARABOLA, **{name: bad}), 1.0, state)
    assert (choice.outcome, choice.advances, choice.rescaling) == (Outcome.NON_FINITE_CURVATURE, False, 0.0)
    assert choice.state == state == before


def test_a_direction_of_length_zero_changes_nothing() -> None:
    rule = CurvatureRescaling()
    probe = replace(PARABOLA, slope=0.0, absolute_curvature=0.0, direction_norm_sq=0.0)
    choice = rule.choose(probe, 1.0, rule.init())
    assert (choice.outcome, choice.advances, choice.state) == (Outcome.ZERO_DIRECTION, False, rule.init())


def test_a_probe_without_the_curvature_is_refused() -> None:
    rule = CurvatureRescaling()
    with pytest.raises(ValueError, match="needs the mean absolute curvature, but the probe holds None"):
        rule.choose(replace(PARABOLA, absolute_curvature=None), 1.0, rule.init())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta3": 1.0}, r"beta3=1\.0 was given"),
        ({"beta3": math.nan}, r"beta3=nan was given"),
        ({"slope": "steep"}, r"slope='steep' was given"),
        ({"constant": 0.0}, r"constant=0\.0 was given"),
        ({"constant": math.inf}, r"constant=inf was given"),
        ({"max_relative_step": -1.0}, r"max_relative_step=-1\.0 was given"),
        ({"slope_decay": 1.0}, r"slope_decay=1\.0 was given"),
        ({"floor": -1.0}, r"floor=-1\.0 was given"),
        ({"floor": math.inf}, r"floor=inf was given"),
        ({"band": (1.0, 2.0)}, r"band=\(1\.0, 2\.0\) was given"),
        ({"band": (1.0, 2.0, 0.5)}, r"band=\(1\.0, 2\.0, 0\.5\) was given"),
        ({"band": (1.0, 2.0, 1.0)}, r"band=\(1\.0, 2\.0, 1\.0\) was given"),
        ({"band": (0.0, 0.0, 0.75)}, r"band=\(0\.0, 0\.0, 0\.75\) was given"),
        ({"band": "narrow"}, r"band='narrow' was given"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurvatureRescaling(**options)  # pyright: ignore[reportArgumentType]


def test_every_outcome_is_a_sentence() -> None:
    for outcome in Outcome:
        assert outcome.value[0].isupper() and outcome.value.endswith(".") and " " in outcome.value
