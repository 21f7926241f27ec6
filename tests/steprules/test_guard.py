"""The guard on losses of one variable whose curvature grows along the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from curvestep._probe import LineSample, Need, Probe
from curvestep._records import Outcome
from curvestep.steprules import CurvatureRescaling, Guard, LineRequest, RuleState, StepChoice

Function = Callable[[float], float]


def probe_of(value: Function, theta: float, gradient: float, curvature: float, direction: float | None = None) -> Probe:
    """What is measured at θ along d, the gradient unless said otherwise."""
    d = gradient if direction is None else direction
    along = curvature * d**2
    return Probe(value(theta), gradient * d, along, abs(along), d**2, theta**2, gradient**2)


def settle(
    rule: Guard, value: Function, theta: float, probe: Probe, ell: float, state: RuleState, direction: float
) -> tuple[StepChoice, int]:
    """Answer the rule's requests until it chooses; return the choice and the number of losses it asked for."""
    choice = rule.choose(probe, ell, state)
    while isinstance(choice, LineRequest):
        samples = tuple(LineSample(step, value(theta - step * direction)) for step in choice.steps)
        probe = replace(probe, line=probe.line + samples)
        choice = rule.choose(probe, ell, state)
    return choice, len(probe.line)


def root(theta: float) -> float:
    return math.sqrt(1.0 + theta**2)


def root_probe(theta: float) -> Probe:
    return probe_of(root, theta, theta / root(theta), root(theta) ** -3)


def test_it_needs_the_line_too() -> None:
    assert Guard(CurvatureRescaling()).needs == CurvatureRescaling().needs | {Need.LINE}


@pytest.mark.parametrize("ell", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("theta", [0.3, -7.0])
def test_on_a_parabola_it_changes_nothing_and_asks_once(ell: float, theta: float) -> None:
    """There the bound holds with equality, whatever ℓ is, and only the allowance for rounding decides."""
    value = lambda x: 1.0 + 1.7 * x**2  # noqa: E731
    probe = probe_of(value, theta, 3.4 * theta, 3.4)
    rule = CurvatureRescaling(max_relative_step=100.0)
    plain = rule.choose(probe, ell, rule.init())
    guarded, asked = settle(Guard(rule), value, theta, probe, ell, Guard(rule).init(), 3.4 * theta)
    assert asked == 1
    assert replace(guarded, state=plain.state) == plain
    assert guarded.state == {**plain.state, "guard_count": 1}


def test_the_first_retreat_is_that_of_the_secant_by_hand() -> None:
    # From 2 on √(1+θ²) the parabola's minimum is at −8, ten away: L' = 2 (√65 − √5 + 10·2/√5) / 10².
    rule = Guard(CurvatureRescaling())
    probe = root_probe(2.0)
    gradient = 2.0 / math.sqrt(5.0)
    far = LineSample(10.0 / gradient, math.sqrt(65.0))
    request = rule.choose(probe, 0.5, rule.init())
    assert isinstance(request, LineRequest) and request.steps == pytest.approx((far.step,), rel=1e-14)
    secant = 2.0 * (math.sqrt(65.0) - math.sqrt(5.0) + 10.0 * gradient) / 100.0
    request = rule.choose(replace(probe, line=(LineSample(request.steps[0], far.loss),)), 0.5, rule.init())
    assert isinstance(request, LineRequest) and request.steps == pytest.approx((1.0 / secant,), rel=1e-13)


@pytest.mark.parametrize("beta3", [0.0, 0.9])
@pytest.mark.parametrize("ell", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("start", [1e3, -50.0, 1.5])
def test_it_converges_where_the_unguarded_rule_diverges(start: float, ell: float, beta3: float) -> None:
    """Section 2.2: on √(1+θ²) the value of the curvature at t = 0 sends θ to −θ³ at ℓ = ½."""
    rule = Guard(CurvatureRescaling(beta3=beta3))
    theta, state, losses = start, rule.init(), [root(start)]
    for _ in range(200):
        gradient = theta / root(theta)
        if gradient == 0.0:
            break
        choice, _ = settle(rule, root, theta, root_probe(theta), ell, state, gradient)
        theta, state = theta - ell * choice.rescaling * gradient, choice.state
        losses.append(root(theta))
    assert abs(theta) < 1e-6
    # Below ℓ = 1 a bound that holds is a decrease; 16 roundings is what it may be missed by.
    assert all(after <= before * (1 + 16 * 2**-52) for before, after in zip(losses, losses[1:], strict=False))


def test_without_the_guard_the_same_start_diverges() -> None:
    rule = CurvatureRescaling(beta3=0.0, max_relative_step=1e30)
    theta, state = 1e3, rule.init()
    for _ in range(2):
        choice = rule.choose(root_probe(theta), 0.5, state)
        theta, state = theta - 0.5 * choice.rescaling * theta / root(theta), choice.state
    assert abs(theta) > 1e26  # 10³ → −10⁹ → 10²⁷


def test_the_secant_enters_the_average() -> None:
    rule = Guard(CurvatureRescaling(beta3=0.9))
    choice, _ = settle(rule, root, 2.0, root_probe(2.0), 0.5, rule.init(), 2.0 / math.sqrt(5.0))
    assert choice.outcome is Outcome.GUARDED and choice.lipschitz is not None
    assert choice.state == pytest.approx(
        {"average": 0.1 * choice.lipschitz, "count": 1, "reach": choice.state["reach"], "guard_count": 1}
    )
    assert choice.lipschitz > 4.0 * root(2.0) ** -3  # four times what was measured at t = 0


@pytest.mark.parametrize("ell", [0.5, 1.0, 2.0])
def test_the_bound_holds_at_the_end(ell: float) -> None:
    def quartic(x: float) -> float:
        return x**4 + 0.05 * x**2

    theta = 0.2
    gradient, curvature = 4 * theta**3 + 0.1 * theta, 12 * theta**2 + 0.1
    probe = probe_of(quartic, theta, gradient, curvature)
    rule = Guard(CurvatureRescaling())
    choice, _ = settle(rule, quartic, theta, probe, ell, rule.init(), gradient)
    assert choice.lipschitz is not None
    step = ell * choice.rescaling
    bound = probe.loss - step * probe.slope + 0.5 * step**2 * choice.lipschitz * probe.direction_norm_sq
    assert quartic(theta - step * gradient) <= bound + 1e-15
    assert bound == pytest.approx(probe.loss - (ell - ell**2) * choice.rescaling * probe.slope, rel=1e-12)


@pytest.mark.parametrize("worst", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_quarters_the_step(worst: float) -> None:
    # ½ θ² up to 1, beyond it nothing; the direction overshoots from 0.9 to the other side at ℓ = 2.
    def walled(x: float) -> float:
        return 0.5 * x**2 if abs(x) <= 1.0 else worst

    theta = 0.9
    probe = probe_of(walled, theta, theta, 1.0)
    rule = Guard(CurvatureRescaling())
    choice, asked = settle(rule, walled, theta, probe, 2.0, rule.init(), theta)
    assert asked == 2
    assert choice.outcome is Outcome.GUARDED
    assert 2.0 * choice.rescaling == pytest.approx(1.0, rel=1e-14)  # 4 before


def test_one_look_shortens_to_a_tenth_at_most() -> None:
    # eᶿ − 5θ from −3: the parabola's minimum lies at +97, and the secant there would ask for a step of 10⁻³⁸.
    value = lambda x: math.exp(x) - 5.0 * x  # noqa: E731
    gradient = math.exp(-3.0) - 5.0
    probe = probe_of(value, -3.0, gradient, math.exp(-3.0))
    rule = Guard(CurvatureRescaling(max_relative_step=1e3))
    choice, _ = settle(rule, value, -3.0, probe, 0.5, rule.init(), gradient)
    assert -3.0 < -3.0 - 0.5 * choice.rescaling * gradient < 3.0
    assert 0.5 * choice.rescaling * abs(gradient) > 0.5


def test_a_wall_that_is_everywhere_ends() -> None:
    probe = probe_of(lambda x: 0.5 * x**2, 1.0, 1.0, 1.0)
    choice, asked = settle(
        Guard(CurvatureRescaling()), lambda x: math.inf, 1.0, probe, 1.0, {"average": 0.0, "count": 0}, 1.0
    )
    assert choice.rescaling < 1e-30 and asked <= 170


def test_a_step_uphill_is_held_to_its_curvature_but_not_forbidden() -> None:
    """d = −g, as a momentum may be: on a parabola the bound with the slope's sign holds with equality."""
    value = lambda x: 2.0 * x**2  # noqa: E731
    probe = probe_of(value, 1.0, 4.0, 4.0, direction=-4.0)
    rule = CurvatureRescaling(slope="absolute")
    plain = rule.choose(probe, 0.5, rule.init())
    guarded, asked = settle(Guard(rule), value, 1.0, probe, 0.5, Guard(rule).init(), -4.0)
    assert (guarded.rescaling, guarded.outcome, asked) == (plain.rescaling, Outcome.ABSOLUTE_SLOPE, 1)
    steeper = lambda x: 2.0 * x**2 + (x - 1.0) ** 4  # noqa: E731  the same at t = 0, more curvature further on
    guarded, _ = settle(Guard(rule), steeper, 1.0, probe, 0.5, Guard(rule).init(), -4.0)
    assert guarded.outcome is Outcome.GUARDED and 0.0 < guarded.rescaling < plain.rescaling


@pytest.mark.parametrize("off", [0.25, 0.999])
def test_differences_below_the_rounding_of_the_losses_change_nothing(off: float) -> None:
    resolution = 2.0**-23
    probe = replace(probe_of(lambda x: 1.0, 1.0, 1e-5, 1.0), resolution=resolution)
    rule = CurvatureRescaling()
    plain = rule.choose(probe, 1.0, rule.init())
    noisy = lambda x: 1.0 + off * 16 * resolution  # noqa: E731
    guarded, asked = settle(Guard(rule), noisy, 1.0, probe, 1.0, Guard(rule).init(), 1e-5)
    assert (guarded.rescaling, asked) == (plain.rescaling, 1)


def test_a_cap_that_keeps_the_rule_from_shortening_is_got_around() -> None:
    # Flat at t = 0 and steep behind: every curvature up to 1 would ask for more than the cap of 1e-3 allows.
    value = lambda x: -x if x < 1.0 + 1e-4 else 1e6 * (x - 1.0 - 1e-4) - 1.0 - 1e-4  # noqa: E731
    probe = probe_of(value, 1.0, -1.0, 0.0)
    rule = Guard(CurvatureRescaling(max_relative_step=1e-3))
    choice, _ = settle(rule, value, 1.0, probe, 1.0, rule.init(), -1.0)
    assert 1.0 + choice.rescaling < 1.0 + 2e-4
    assert value(1.0 + choice.rescaling) <= value(1.0)


def test_it_looks_on_every_third_step_only() -> None:
    rule = Guard(CurvatureRescaling(), every=3)
    state, asked = rule.init(), []
    for _ in range(7):
        choice, losses = settle(rule, root, 0.5, root_probe(0.5), 0.5, state, 0.5 / root(0.5))
        state = choice.state
        asked.append(losses > 0)
    assert asked == [True, False, False, True, False, False, True]
    assert state["guard_count"] == state["count"] == 7


@pytest.mark.parametrize("change", [{"slope": -1.0}, {"slope": math.nan}, {"direction_norm_sq": 0.0}, {"slope": 0.0}])
def test_where_the_rule_takes_no_step_nothing_is_measured(change: dict[str, float]) -> None:
    rule = CurvatureRescaling()
    probe = replace(root_probe(2.0), **change)
    plain = rule.choose(probe, 0.5, rule.init())
    choice = Guard(rule).choose(probe, 0.5, Guard(rule).init())
    assert isinstance(choice, StepChoice)
    assert (choice.rescaling, choice.outcome, choice.advances) == (0.0, plain.outcome, plain.advances)
    assert choice.state["guard_count"] == int(plain.advances)


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_an_interval_that_is_none_is_refused(every: int) -> None:
    with pytest.raises(ValueError, match="whole number of at least 1"):
        Guard(CurvatureRescaling(), every)
