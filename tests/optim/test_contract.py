"""The contract of a step rule fails closed: whatever a rule does, no parameter is given a number that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curvestep._errors import CurvestepError
from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.directions import Direction, Gradient
from curvestep.optim import AbstractComposedOptimizer
from curvestep.optim._decide import MOST_REQUESTS, Undeclared
from curvestep.steprules import LineRequest, RuleState, StepChoice, StepRule

ALL = frozenset(Need)


@dataclass(frozen=True)
class Planted:
    """A rule made of a function."""

    answer: Callable[[Probe], StepChoice | LineRequest]
    needs: frozenset[Need] = field(default_factory=lambda: frozenset({Need.SLOPE}))

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        del state
        return self.needs

    def init(self) -> RuleState:
        return {}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        del ell, state
        return self.answer(probe)


class Bare(AbstractComposedOptimizer):
    """The gradient with a planted rule, and no option beside ``lr``."""

    def __init__(self, params: Any, rule: StepRule, lr: float = 1.0) -> None:
        self.planted = rule
        super().__init__(params, {"lr": lr})

    def _direction(self, group: dict[str, Any]) -> Direction:
        del group
        return Gradient()

    def _rule(self, groups: Any) -> StepRule:
        del groups
        return self.planted

    @property
    def _rule_options(self) -> tuple[str, ...]:
        return ()


def choice(rescaling: float, outcome: Outcome = Outcome.TAKEN) -> StepChoice:
    return StepChoice(rescaling, None, outcome, {}, advances=True)


def step(rule: StepRule, theta: Tensor | None = None, scale: float = 1.0, lr: float = 1.0) -> tuple[Bare, Tensor]:
    theta = torch.tensor([3.0, -2.0], dtype=torch.float64, requires_grad=True) if theta is None else theta
    optimizer = Bare([theta], rule, lr)
    with optimizer.record(batch_size=1):
        (0.5 * scale * (theta * theta).sum(dim=0, keepdim=True)).mean().backward()
    optimizer.step()
    return optimizer, theta


@pytest.mark.parametrize("rescaling", [math.nan, math.inf, -math.inf, 1e308])
def test_a_rescaling_that_is_not_finite_moves_nothing(rescaling: float) -> None:
    optimizer, theta = step(Planted(lambda probe: choice(rescaling)))
    assert theta.tolist() == [3.0, -2.0]
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_STEP
    assert optimizer.param_groups[0]["steps"] == 0


def test_a_composition_without_decay_steps() -> None:
    _, theta = step(Planted(lambda probe: choice(0.5)))
    assert theta.tolist() == [1.5, -1.0]


@pytest.mark.parametrize("need", [need for need in Need if need not in (Need.LINE, Need.LAST_STEP)])
@pytest.mark.parametrize("use", [abs, lambda x: x * 2.0, lambda x: 1.0 - x, lambda x: x < 1.0, lambda x: -x, bool])
def test_an_undeclared_measurement_cannot_be_read(need: Need, use: Callable[[Any], Any]) -> None:
    names = {
        Need.SLOPE: "slope",
        Need.LOSS: "loss",
        Need.CURVATURE: "curvature",
        Need.ABSOLUTE_CURVATURE: "absolute_curvature",
        Need.PARAMETER_NORM: "parameter_norm_sq",
        Need.WEIGHT_SIZE: "weight_size",
    }

    def read(probe: Probe) -> StepChoice:
        use(getattr(probe, names[need]))
        return choice(1.0)

    theta = torch.tensor([3.0], requires_grad=True)
    with pytest.raises(CurvestepError, match=rf"Planted reads .*not declared: add Need\.{need.name}"):
        step(Planted(read, needs=ALL - {need}), theta)
    assert theta.item() == 3.0


def test_what_a_rule_does_with_an_undeclared_number_without_reading_it_is_not_finite() -> None:
    assert math.isnan(Undeclared("Planted", Need.SLOPE))
    optimizer, theta = step(Planted(lambda probe: choice(math.sqrt(probe.loss))))
    assert theta.tolist() == [3.0, -2.0]
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_STEP


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex128])
def test_the_size_of_the_weights_is_the_geometric_mean_over_their_tensors(dtype: torch.dtype) -> None:
    """Root mean squares of 1 and 4; zeros and vectors are no weights, and where nothing else moves it is 0.

    Complex numbers are pairs: half of the numbers are 0 here, and the vector is a matrix of two columns.
    """
    seen: list[float] = []

    def read(probe: Probe) -> StepChoice:
        seen.append(probe.weight_size)
        return choice(0.0)

    weights = [torch.tensor([[1.0, -1.0]]), torch.full((2, 3), -4.0), torch.zeros(2, 2), torch.full((3,), 9.0)]
    for kept in (weights, weights[2:]):
        params = [weight.to(dtype).requires_grad_() for weight in kept]
        optimizer = Bare(params, Planted(read, frozenset({Need.SLOPE, Need.WEIGHT_SIZE})))
        with optimizer.record(batch_size=1):
            torch.stack([(p - 1.0).abs().square().sum() for p in params]).sum().reshape(1).mean().backward()
        optimizer.step()
    pairs = [36.0 ** (1 / 3) / math.sqrt(2.0), 9.0 / math.sqrt(2.0)]
    assert seen == pytest.approx(pairs if dtype.is_complex else [2.0, 0.0])


@pytest.mark.parametrize("along", ["direction", "last step"])
def test_losses_along_a_line_must_be_declared(along: Any) -> None:
    with pytest.raises(CurvestepError, match=rf"asks for losses along the {along}, which it has not declared.*LINE"):
        step(Planted(lambda probe: LineRequest((1.0,), along)))
    with pytest.raises(CurvestepError, match="LAST_STEP"):
        step(Planted(lambda probe: LineRequest((1.0,), "last step"), frozenset({Need.LINE, Need.LOSS, Need.SLOPE})))


def test_an_endless_search_is_ended() -> None:
    calls = []

    def search(probe: Probe) -> LineRequest:
        calls.append(len(probe.line))
        return LineRequest((1.0,))

    with pytest.raises(CurvestepError, match="asked 64 times for losses along the line without choosing"):
        step(Planted(search, frozenset({Need.LINE, Need.LOSS, Need.SLOPE})))
    assert len(calls) == MOST_REQUESTS


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
RULES = st.tuples(NUMBERS, st.sampled_from(list(Outcome)), st.booleans(), st.booleans())


@settings(max_examples=10_000, deadline=None, database=None, derandomize=True)
@given(
    RULES,
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    st.floats(min_value=1e-6, max_value=1e6),
    st.sampled_from([1e-300, 1e-30, 1.0, 1e3, 1e30, 1e300]),
)
def test_no_rule_puts_a_number_that_is_not_finite_into_a_parameter(
    rule: tuple[float, Outcome, bool, bool], dtype: torch.dtype, lr: float, scale: float
) -> None:
    """Ten thousand rules: any number, any outcome, whatever the dtype, the level and the size of the gradient."""
    rescaling, outcome, advances, by_slope = rule

    def answer(probe: Probe) -> StepChoice:
        return StepChoice(rescaling * (probe.slope if by_slope else 1.0), None, outcome, {}, advances)

    theta = torch.tensor([3.0, -2.0], dtype=dtype, requires_grad=True)
    optimizer = Bare([theta], Planted(answer), lr)
    theta.grad = torch.tensor([scale, -0.5 * scale], dtype=torch.float64).to(dtype)
    with optimizer.record():
        pass
    optimizer.step()
    assert torch.isfinite(theta).all()
    assert optimizer.last_step is not None
    if not optimizer.last_step.outcome.moved:
        assert theta.tolist() == [3.0, -2.0]
