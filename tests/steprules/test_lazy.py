"""A curvature that is held between measurements: when it is measured, what is held, what the optimizer then records."""

from __future__ import annotations

import pytest
import torch

from curvestep import RecordingError
from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.optim import RescaledSGD
from curvestep.steprules import CurvatureRescaling, Guard, Lazy, Slope, StepChoice


def probe(curvature: float | None, slope: float = 4.0, norm_sq: float = 4.0) -> Probe:
    return Probe(1.0, slope, curvature, curvature, direction_norm_sq=norm_sq, parameter_norm_sq=1.0)


def taken(choice: object) -> StepChoice:
    assert isinstance(choice, StepChoice)
    return choice


def test_all_of_the_first_steps_are_measured_and_then_ever_fewer() -> None:
    rule = Lazy(CurvatureRescaling(), every=3, growth=2)
    state, measured = rule.init(), []
    for _ in range(10):
        due = Need.ABSOLUTE_CURVATURE in rule.needs_at(state)
        measured.append(due)
        state = taken(rule.choose(probe(8.0 if due else None), 0.5, state)).state
    assert measured == [True, True, False, True, False, False, True, False, False, True]


@pytest.mark.parametrize("slope_form", ["signed", "smoothed"])
def test_the_average_stands_in_for_the_measurement_and_stays(slope_form: Slope) -> None:
    inner = CurvatureRescaling(beta3=0.5, slope=slope_form)
    rule = Lazy(inner, every=4, growth=2)
    state, own = rule.init(), inner.init()
    for curvature in (8.0, 2.0):
        expected, found = inner.choose(probe(curvature), 0.5, own), taken(rule.choose(probe(curvature), 0.5, state))
        assert (found.rescaling, found.lipschitz) == (expected.rescaling, expected.lipschitz)
        own, state = expected.state, found.state
    average = (0.5 * 2.0 / 2.0 + 0.5 * 2.0 / 4.0) / 0.75  # c = 8/4 and 2/4, corrected by 1 − ½²
    for slope, norm_sq in ((1.0, 4.0), (6.0, 9.0)):
        # What is not measured is as if the average itself had been measured: the slope's average goes on.
        expected = inner.choose(probe(average * norm_sq, slope, norm_sq), 0.5, own)
        state = {**state, "lazy_last": state["lazy_count"] - 1}  # as if the last step had been measured
        found = taken(rule.choose(probe(None, slope, norm_sq), 0.5, state))
        assert found.outcome is Outcome.CURVATURE_HELD
        assert found.lipschitz == pytest.approx(average, rel=1e-14)
        assert found.rescaling == pytest.approx(expected.rescaling, rel=1e-14)
        own, state = expected.state, found.state
        assert inner.average(state) == pytest.approx(average, rel=1e-14)


def test_a_guard_looks_on_measured_steps_only() -> None:
    rule = Lazy(Guard(CurvatureRescaling()), every=2, growth=1)
    assert not isinstance(rule.choose(probe(8.0), 0.5, rule.init()), StepChoice)  # it asks for the loss first
    state = {**rule.init(), "lazy_count": 1, "lazy_last": 0, "average": 0.2, "count": 1}
    assert isinstance(rule.choose(probe(None), 0.5, state), StepChoice)


@pytest.mark.parametrize("option", [{"every": 0}, {"every": 1.5}, {"growth": 0}, {"growth": True}])
def test_intervals_that_are_none_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="whole number of at least 1"):
        Lazy(CurvatureRescaling(), **option)


def test_nothing_is_recorded_between_measurements() -> None:
    theta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    samples = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    optimizer = RescaledSGD([theta], lr=0.25, curvature_every=4)
    sizes, returned = [], []
    for _ in range(14):
        optimizer.zero_grad()
        with optimizer.record() as tape:
            loss = 2.0 * ((theta - samples) ** 2).mean()
            loss.backward()
        sizes.append(len(tape.nodes))
        returned.append(optimizer.step())
        assert optimizer.last_step is not None
        # A quadratic: the held curvature is the true one, so each step is the same share of the way.
        assert optimizer.last_step.step_size == pytest.approx(0.125, rel=1e-12)
    due = [True] * 10 + [False, True, False, True]
    assert [size > 0 for size in sizes] == due
    assert [value is not None for value in returned] == due
    assert theta.item() == pytest.approx(3.0 * 0.5**14, rel=1e-12)  # fourteen roundings


def test_the_tape_of_an_unmeasured_step_says_that_it_is_empty() -> None:
    theta, samples = torch.tensor([3.0], requires_grad=True), torch.tensor([-1.0, 0.0, 1.0])
    optimizer = RescaledSGD([theta], lr=0.25, curvature_every=100)
    for _ in range(10):
        optimizer.zero_grad()
        with optimizer.record():
            ((theta - samples) ** 2).mean().backward()
        optimizer.step()
    with optimizer.record() as tape:
        ((theta - samples) ** 2).mean().backward()
    with pytest.raises(RecordingError):
        tape.curvature([theta], [torch.ones(1)])


def test_a_closure_gives_the_same_steps_and_its_loss() -> None:
    def run(by_closure: bool) -> torch.Tensor:
        torch.manual_seed(0)
        weight, inputs = torch.randn(4, 3, requires_grad=True), torch.randn(14, 8, 4)
        optimizer = RescaledSGD([weight], lr=0.5, curvature_every=3)
        for batch in inputs:

            def closure(batch: torch.Tensor = batch) -> torch.Tensor:
                optimizer.zero_grad()
                loss = torch.tanh(batch @ weight).square().mean()
                loss.backward()
                return loss

            if by_closure:
                assert optimizer.step(closure) is not None
                assert optimizer.last_step is not None and optimizer.last_step.loss is not None
            else:
                with optimizer.record():
                    closure()
                optimizer.step()
        return weight.detach()

    assert torch.equal(run(True), run(False))


def test_a_closure_that_returns_nothing_works_on_every_step() -> None:
    theta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    samples = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    optimizer = RescaledSGD([theta], lr=0.25, curvature_every=4)

    def closure() -> None:
        optimizer.zero_grad()
        (2.0 * ((theta - samples) ** 2).mean()).backward()

    for _ in range(12):
        optimizer.step(closure)
    assert theta.item() == pytest.approx(3.0 * 0.5**12, rel=1e-12)  # twelve roundings
