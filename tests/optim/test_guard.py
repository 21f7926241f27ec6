"""The guard in the optimizers: what it changes, what it leaves, and where it converges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from curvestep._records import Outcome
from curvestep.optim import AbstractComposedOptimizer, RescaledAdam, RescaledRMSprop, RescaledSGD
from tests.optim.problem import assert_bitwise_equal, make_problem


def minimise(optimizer: AbstractComposedOptimizer, loss: Callable[[], Tensor], steps: int) -> list[Outcome]:
    outcomes = []
    for _ in range(steps):
        optimizer.zero_grad()
        with optimizer.record(batch_size=1):
            loss().backward()
        optimizer.step()
        assert optimizer.last_step is not None
        outcomes.append(optimizer.last_step.outcome)
    return outcomes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("make", [RescaledSGD, RescaledRMSprop, RescaledAdam])
def test_from_a_thousand_on_the_root_of_one_plus_the_square(make: Any, dtype: torch.dtype) -> None:
    theta = torch.full((1, 1), 1e3, dtype=dtype, requires_grad=True)
    optimizer = make([theta], lr=0.5, guard_every=1)
    outcomes = minimise(optimizer, lambda: (1.0 + theta.square()).sqrt().mean(), 60)
    assert abs(theta.item()) < 0.1
    assert Outcome.GUARDED in outcomes


def test_without_it_the_same_start_diverges() -> None:
    theta = torch.full((1, 1), 1e3, dtype=torch.float64, requires_grad=True)
    minimise(RescaledSGD([theta], lr=0.5, max_relative_step=1e12), lambda: (1.0 + theta.square()).sqrt().mean(), 10)
    assert not abs(theta.item()) < 1e9


def rosenbrock(point: Tensor) -> Tensor:
    x, y = point[:, 0], point[:, 1]
    return ((1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2).mean()


@pytest.mark.slow
def test_rosenbrock_is_minimised_without_a_single_rise() -> None:
    point = torch.tensor([[-1.2, 1.0]], dtype=torch.float64, requires_grad=True)
    optimizer = RescaledSGD([point], lr=0.5, guard_every=1)
    losses = []
    for _ in range(30):
        minimise(optimizer, lambda: rosenbrock(point), 100)
        losses.append(rosenbrock(point.detach()).item())
    assert losses == sorted(losses, reverse=True)
    # Steepest descent in the valley: the condition number is 2500, and each step takes a share of about 1/2500.
    assert losses[-1] < 1e-3


def test_no_step_below_level_one_raises_the_loss_of_its_batch() -> None:
    problem = make_problem()
    optimizer = RescaledSGD(problem.net.parameters(), lr=0.9, guard_every=1)
    for batch in range(40):
        before = problem.train(optimizer, range(batch, batch + 1))[0]
        with torch.no_grad():
            assert problem.loss(batch).item() <= before * (1 + 16 * 2**-52)


def test_where_the_bound_holds_it_changes_not_one_bit() -> None:
    # ½ E‖θ − x‖² has the same curvature everywhere: the bound holds with equality at every step.
    plain, guarded = (torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    batches = torch.randn(10, 6, 4, dtype=torch.float64)
    for theta, guard in ((plain, 0), (guarded, 1)):
        theta.requires_grad_()
        optimizer = RescaledSGD([theta], lr=0.7, guard_every=guard)
        for batch in batches:
            optimizer.zero_grad()
            with optimizer.record():
                (0.5 * (theta - batch) ** 2).sum(dim=1).mean().backward()
            optimizer.step()
            assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.TAKEN
    assert_bitwise_equal([plain.detach()], [guarded.detach()])


def test_the_l2_term_is_part_of_the_loss_that_is_compared() -> None:
    theta = torch.full((1, 1), 5.0, dtype=torch.float64, requires_grad=True)
    optimizer = RescaledSGD([theta], lr=0.5, guard_every=1, weight_decay=2.0)
    outcomes = minimise(optimizer, lambda: theta.square().mean(), 1)
    assert outcomes == [Outcome.TAKEN] and theta.item() == 0.0


def test_a_recorded_loss_that_overflows_at_the_end_of_the_step_shortens_it() -> None:
    theta = torch.full((1, 1), -3.0, dtype=torch.float32, requires_grad=True)
    # exp(θ) overflows beyond 88; the curvature at −3 is small enough to ask for more than that.
    optimizer = RescaledSGD([theta], lr=0.5, guard_every=1, max_relative_step=1e6)
    outcomes = minimise(optimizer, lambda: (theta.exp() - 5.0 * theta).mean(), 60)
    assert outcomes[0] is Outcome.GUARDED
    assert theta.item() == pytest.approx(math.log(5.0), rel=1e-3)


def test_the_state_of_an_unguarded_run_goes_on_under_a_guard() -> None:
    problem = make_problem()
    optimizer = RescaledAdam(problem.net.parameters(), lr=0.5)
    problem.train(optimizer, range(3))
    other = RescaledAdam(problem.net.parameters(), lr=0.5, guard_every=2)
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        group["guard_every"] = 2
    other.load_state_dict(saved)
    problem.train(other, range(3, 6))
    assert other.param_groups[0]["rule_state"]["count"] == 6
    assert other.param_groups[0]["rule_state"]["guard_count"] == 3
