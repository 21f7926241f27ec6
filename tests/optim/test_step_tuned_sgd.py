"""Step-Tuned SGD: closed forms, the algorithm written out naively, and SGD where the factor is held at 1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from curvestep._records import Outcome
from curvestep.optim import StepTunedSGD
from curvestep.steprules import StepTuned
from tests.optim.problem import Problem, assert_close, make_problem
from tests.optim.test_alig import flat, loss_of
from tests.reference import step_tuned_sgd

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"weight_decay": 0.1}, {"l2": 0.1}),
    (
        {"decay": 0.5, "fallback": 1.5, "factor_range": (0.1, 5.0), "delta": 0.2},
        {"beta": 0.5, "nu": 1.5, "low": 0.1, "high": 5.0, "delta": 0.2},
    ),
]


@pytest.mark.parametrize(("options", "naive"), CASES, ids=["defaults", "L2", "other constants"])
def test_a_hundred_steps_follow_the_algorithm(options: dict[str, Any], naive: dict[str, Any]) -> None:
    problem, other = make_problem(), make_problem()
    expected, gammas = step_tuned_sgd.train(
        flat(other.parameters()), lambda theta, k: loss_of(other, theta, k), 100, 0.5, **naive
    )
    optimizer = StepTunedSGD(problem.net.parameters(), 0.5, **options)
    found, factors = [], []
    for batch in range(100):
        factors.append(optimizer.param_groups[0]["rule_state"]["gamma"])
        optimizer.step(problem.closure(optimizer, batch))
        found.append(flat(problem.parameters()))
    # A few dozen float64 operations a step in another order; 4e-13 is the largest difference seen.
    assert_close(found, expected, 1e-10)
    assert factors == pytest.approx(gammas, rel=1e-9)
    assert len(set(gammas)) > 2  # the factor did move between its ends


@pytest.mark.parametrize("curvature", [0.6, 1.7, 0.01, 100.0])
def test_on_a_parabola_the_factor_is_the_inverse_curvature_in_its_range(curvature: float) -> None:
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = StepTunedSGD([theta], 0.001)
    with optimizer.record():
        (0.5 * curvature * theta.square()).sum().backward()
    optimizer.step()
    # The change of the gradient is a difference of numbers a thousand times as large.
    gamma = optimizer.param_groups[0]["rule_state"]["gamma"]
    assert gamma == pytest.approx(min(max(1.0 / curvature, 0.5), 2.0), rel=1e-11)


def test_where_the_curvature_is_negative_the_factor_is_the_fallback() -> None:
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = StepTunedSGD([theta], 0.1, fallback=1.75)
    with optimizer.record():
        (-0.5 * theta.square()).sum().backward()
    optimizer.step()
    assert optimizer.param_groups[0]["rule_state"] == {"gamma": 1.75, "count": 1}


def sgd_twice_a_batch(problem: Problem, rate: float, steps: int) -> list[Tensor]:
    optimizer = torch.optim.SGD(problem.net.parameters(), lr=rate)
    for batch in range(steps):
        optimizer.param_groups[0]["lr"] = rate / (batch + 1) ** 0.501
        for _ in range(2):
            problem.train(optimizer, range(batch, batch + 1))
    return problem.parameters()


def test_with_the_factor_held_at_1_it_is_sgd_twice_on_each_batch() -> None:
    problem, other = make_problem(), make_problem()
    optimizer = StepTunedSGD(problem.net.parameters(), 0.5, factor_range=(1.0, 1.0))
    problem.train(optimizer, range(100))
    assert_close(problem.parameters(), sgd_twice_a_batch(other, 0.5, 100), 1e-12)


def test_both_gradients_see_the_same_dropout_and_batch_statistics_move_once() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    inputs = torch.randn(6, 5, dtype=torch.float64)
    optimizer = StepTunedSGD(net.parameters(), 1e-7)
    with optimizer.record():
        net(inputs).square().mean().backward()
    first = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    before = [p.detach().clone() for p in net.parameters()]
    optimizer.step()
    # With a rate of 1e-7 the second gradient is the first one: the step is 2 τ g. Other masks would double or drop it.
    for parameter, start, gradient in zip(net.parameters(), before, first, strict=True):
        torch.testing.assert_close((start - parameter.detach()) / 2e-7, gradient, rtol=1e-4, atol=1e-6)
    batches = dict(net.named_buffers())["1.num_batches_tracked"]
    assert batches.item() == 1


def test_a_second_gradient_that_is_not_finite_changes_nothing() -> None:
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = StepTunedSGD([theta], 4.0)  # half-way it is at 1 − 4 · ½ < 0, where the root is no number
    with optimizer.record():
        theta.sqrt().sum().backward()
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_GRADIENT
    assert theta.item() == 1.0 and not optimizer.state
    assert optimizer.param_groups[0]["rule_state"] == {"gamma": 1.0, "count": 0}


def test_groups_have_their_own_rate_and_one_factor() -> None:
    left, right = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = StepTunedSGD(
        [
            {"params": [left], "lr": 0.1},
            {"params": [right]},
        ],
        0.2,
    )
    with optimizer.record():
        (0.5 * (left.square() + right.square())).sum().backward()
    optimizer.step()
    assert (left.item(), right.item()) == (pytest.approx(0.9**2, rel=1e-15), pytest.approx(0.8**2, rel=1e-15))
    assert [group["effective_lr"] for group in optimizer.param_groups] == [0.1, 0.2]
    assert optimizer.param_groups[1]["rule_state"]["gamma"] == pytest.approx(1.0, rel=1e-14)


def test_a_learning_rate_must_be_given() -> None:
    with pytest.raises(TypeError, match="rate"):
        StepTunedSGD([torch.zeros(1, requires_grad=True)])  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("product", "gamma"), [(0.5, 2.0), (0.8, 1.25), (1e-320, 2.0), (10.0, 0.5), (0.0, 2.0), (-1.0, 2.0)]
)
def test_the_factor_by_hand(product: float, gamma: float) -> None:
    rule = StepTuned()
    assert rule.learn(rule.init(), 1.0, product) == {"gamma": gamma, "count": 1}
