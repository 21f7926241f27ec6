"""LQA and GeN: closed forms, the algorithms written out naively, and what they reduce to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from curvestep._records import Outcome
from curvestep.optim import LQA, GeN
from tests.optim.problem import assert_bitwise_equal, assert_close, make_problem
from tests.optim.test_alig import flat, loss_of
from tests.reference import local_quadratic

STEPS = 100
# The second difference of losses of order 1 over steps that change them by 1e-3 or more loses up to six digits.
TOLERANCE = 1e-6


def test_a_hundred_steps_of_lqa_follow_the_algorithm() -> None:
    problem, other = make_problem(), make_problem()
    expected = local_quadratic.train_lqa(
        flat(other.parameters()), lambda theta, k: loss_of(other, theta, k), STEPS, first=0.1, largest=2.0
    )
    optimizer = LQA(problem.net.parameters(), lr=0.5, initial_step=0.1)
    found = []
    for batch in range(STEPS):
        optimizer.step(problem.closure(optimizer, batch))
        found.append(flat(problem.parameters()))
    assert_close(found, expected, TOLERANCE)


@pytest.mark.parametrize("every", [1, 8])
@pytest.mark.parametrize("batch", ["same", "next"])
def test_a_hundred_steps_of_gen_follow_the_algorithm(every: int, batch: Literal["same", "next"]) -> None:
    problem, other = make_problem(), make_problem()
    expected = local_quadratic.train_gen(
        flat(other.parameters()),
        lambda theta, k: loss_of(other, theta, k),
        STEPS,
        first=1e-2,
        every=every,
        fresh=batch == "next",
    )
    optimizer = GeN(problem.net.parameters(), initial_step=1e-2, every=every, batch=batch, decoupled_weight_decay=0.0)
    found = []
    for k in range(STEPS):
        optimizer.step(problem.closure(optimizer, k))
        found.append(flat(problem.parameters()))
    assert_close(found, expected, TOLERANCE)


def test_gen_that_never_measures_is_adamw() -> None:
    problem, other = make_problem(), make_problem()
    problem.train(GeN(problem.net.parameters(), initial_step=1e-2, every=10**6), range(STEPS))
    other.train(torch.optim.AdamW(other.net.parameters(), lr=1e-2, weight_decay=0.01), range(STEPS))
    assert_close(problem.parameters(), other.parameters(), 1e-11)


def test_lqa_that_never_measures_again_is_sgd() -> None:
    problem, other = make_problem(), make_problem()
    # "next" has nothing to measure at the first step.
    problem.train(LQA(problem.net.parameters(), initial_step=0.1, batch="next", every=10**6), range(STEPS))
    other.train(torch.optim.SGD(other.net.parameters(), lr=0.1), range(STEPS))
    assert_close(problem.parameters(), other.parameters(), 1e-12)


def minimise(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(closure)


@pytest.mark.parametrize("probe", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("initial", [None, 1e-3, 0.1])
def test_on_a_parabola_one_step_lands_on_the_minimum_wherever_the_probes_are(
    probe: float, initial: float | None
) -> None:
    theta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    optimizer = LQA([theta], probe=probe, initial_step=initial, change=(1e-6, 1e6))
    minimise(optimizer, lambda: (2.0 * theta.square()).sum() + 1.0, 1)
    # δ⋆ = ¼ exactly. The probes change the loss by 1e-4 of itself at least: ten digits of the second difference remain.
    assert optimizer.last_step is not None
    assert optimizer.last_step.step_size == pytest.approx(0.25, rel=1e-8)


@pytest.mark.parametrize(("ell", "factor"), [(0.5, 0.0), (1.0, 1.0), (2.0, 9.0)])
def test_levels_mean_what_they_mean_for_curvature_rescaling(ell: float, factor: float) -> None:
    theta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    minimise(LQA([theta], lr=ell), lambda: theta.square().sum(), 1)
    assert theta.item() ** 2 == pytest.approx(9.0 * factor, rel=1e-6, abs=1e-12)


def test_a_fresh_batch_judges_the_last_step() -> None:
    # Batch one is ½ (θ−4)², batch two θ²: the step from 2 by −0.1·(−2) = 0.2 is judged by θ² at 2, 2.2 and 2.4 − …
    theta = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer = LQA([theta], batch="next", initial_step=0.1, change=(1e-9, 1e9))
    minimise(optimizer, lambda: 0.5 * (theta - 4.0).square().sum(), 1)
    assert theta.item() == pytest.approx(2.2, rel=1e-15)
    # Along d = −2 from 2 the minimum of (θ−3)² is at δ⋆ = ½; that of the batch before it would be at 1.
    minimise(optimizer, lambda: (theta - 3.0).square().sum(), 1)
    assert optimizer.last_step is not None
    assert optimizer.last_step.step_size == pytest.approx(0.5, rel=1e-9)


def test_where_the_parabola_opens_down_the_longest_step_is_taken() -> None:
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = LQA([theta], initial_step=0.1, change=(0.5, 3.0))
    minimise(optimizer, lambda: -theta.square().sum(), 1)
    assert optimizer.last_step is not None
    assert optimizer.last_step.outcome is Outcome.OPENS_DOWN
    assert optimizer.last_step.step_size == pytest.approx(0.3, rel=1e-14)


@pytest.mark.parametrize(("curvature", "step"), [(1e-3, 0.4), (1e3, 0.05)])
def test_one_measurement_changes_the_step_by_no_more_than_it_may(curvature: float, step: float) -> None:
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = LQA([theta], initial_step=0.1, change=(0.5, 4.0))
    minimise(optimizer, lambda: 0.5 * curvature * theta.square().sum(), 1)
    assert optimizer.last_step is not None
    assert (optimizer.last_step.outcome, optimizer.last_step.step_size) == (Outcome.LIMITED, pytest.approx(step))


def test_in_between_the_step_size_is_kept_and_no_loss_is_asked_for() -> None:
    problem = make_problem()
    optimizer = LQA(problem.net.parameters(), every=4)
    outcomes, sizes = [], []
    for batch in range(9):
        problem.train(optimizer, range(batch, batch + 1))
        assert optimizer.last_step is not None
        outcomes.append(optimizer.last_step.outcome is Outcome.KEPT)
        sizes.append(optimizer.last_step.step_size)
    assert outcomes == [False, True, True, True, False, True, True, True, False]
    assert len(set(sizes[:4])) == len(set(sizes[4:8])) == 1 and len(set(sizes)) == 3


def test_a_probe_beyond_a_wall_is_drawn_in() -> None:
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = LQA([theta], initial_step=3.0, change=(1e-3, 4.0))
    minimise(optimizer, lambda: (theta - theta.log()).sum() + 0.5 * (theta - 3.0).square().sum(), 1)
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved
    assert 1.0 < theta.item() < 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_differences_lost_in_rounding_are_not_taken_for_curvature(dtype: torch.dtype) -> None:
    theta = torch.ones(1, dtype=dtype, requires_grad=True)
    optimizer = LQA([theta], initial_step=1e-3)
    minimise(optimizer, lambda: 100.0 + (0.5 * theta.square()).sum(), 1)
    assert optimizer.last_step is not None
    assert optimizer.last_step.outcome in (Outcome.OPENS_DOWN, Outcome.KEPT)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_step_does_not_depend_on_the_unit_of_the_loss(scale: float) -> None:
    first, second = (torch.tensor([1.5], dtype=torch.float64, requires_grad=True) for _ in range(2))
    minimise(LQA([first]), lambda: (first.exp() - first).sum(), 3)
    minimise(LQA([second]), lambda: scale * (second.exp() - second).sum(), 3)
    assert second.item() == pytest.approx(first.item(), rel=1e-6)


def test_the_last_step_of_a_resumed_run_is_there() -> None:
    problem, other = make_problem(), make_problem()
    optimizer = LQA(problem.net.parameters(), batch="next", initial_step=0.05)
    problem.train(optimizer, range(3))
    resumed = LQA(other.net.parameters(), batch="next", initial_step=0.05)
    other.net.load_state_dict(problem.net.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    problem.train(optimizer, range(3, 6))
    other.train(resumed, range(3, 6))
    assert_bitwise_equal(problem.parameters(), other.parameters())
