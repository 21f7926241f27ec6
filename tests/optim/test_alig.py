"""ALI-G: closed forms, the algorithm written out naively, SGD where the cap always holds, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from curvestep._errors import RecordingError
from curvestep._records import Outcome
from curvestep.optim import ALIG
from tests.optim.problem import Problem, assert_bitwise_equal, assert_close, make_problem
from tests.reference import alig

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"cap": None}, {}),
    ({"cap": 0.5}, {"cap": 0.5}),
    ({"cap": 0.5, "momentum": 0.9}, {"cap": 0.5, "momentum": 0.9}),
    ({"cap": 0.5, "momentum": 0.9, "adjusted": True}, {"cap": 0.5, "momentum": 0.9, "form": "adjusted"}),
    ({"cap": 0.5, "max_norm": 2.0}, {"cap": 0.5, "radius": 2.0}),
    ({"cap": 0.5, "max_norm": 2.0, "momentum": 0.5}, {"cap": 0.5, "radius": 2.0, "momentum": 0.5}),
]
CASE_IDS = ["no cap", "cap", "standard momentum", "adjusted momentum", "ball", "ball and momentum"]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def loss_of(problem: Problem, theta: Tensor, batch: int) -> Tensor:
    names = {name: parameter.shape for name, parameter in problem.net.named_parameters()}
    pieces = theta.split([shape.numel() for shape in names.values()])
    weights = {name: piece.reshape(shape) for (name, shape), piece in zip(names.items(), pieces, strict=True)}
    scores = functional_call(problem.net, weights, (problem.inputs[batch % 5],))
    return functional.cross_entropy(scores, problem.targets[batch % 5])


@pytest.mark.parametrize(("options", "naive"), CASES, ids=CASE_IDS)
def test_a_hundred_steps_follow_the_algorithm(options: dict[str, Any], naive: dict[str, Any]) -> None:
    problem, other = make_problem(), make_problem()
    expected = alig.train(flat(other.parameters()), lambda theta, k: loss_of(other, theta, k), 100, **naive)
    optimizer = ALIG(problem.net.parameters(), **options)
    found = []
    for batch in range(100):
        optimizer.step(problem.closure(optimizer, batch))
        found.append(flat(problem.parameters()))
    # Both round a few dozen float64 operations a step; without a cap a step is long enough to let that grow.
    assert_close(found, expected, 1e-8)


def test_on_the_absolute_value_it_lands_on_the_minimum() -> None:
    # J = ‖x‖₁ has g = sign(x): γ = ‖x‖₁ / n, and for equal entries one step ends at 0.
    theta = torch.full((4,), 3.0, dtype=torch.float64, requires_grad=True)
    optimizer = ALIG([theta], cap=None, eps=0.0)
    with optimizer.record():
        theta.abs().sum().backward()
    optimizer.step()
    assert theta.tolist() == [0.0] * 4
    record = optimizer.last_step
    assert record is not None and (record.step_size, record.outcome) == (3.0, Outcome.TAKEN)


@pytest.mark.parametrize("form", ["recorded", "closure"])
def test_a_loss_below_the_bound_takes_no_step_uphill(form: str) -> None:
    theta = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = ALIG([theta])

    def closure() -> Tensor:
        loss = theta.sum() - 10.0
        loss.backward()
        return loss

    if form == "closure":
        optimizer.step(closure)
    else:
        with optimizer.record():
            closure()
        optimizer.step()
    assert theta.tolist() == [1.0, 2.0]
    record = optimizer.last_step
    assert record is not None and (record.step_size, record.outcome) == (0.0, Outcome.AT_LOWER_BOUND)
    assert optimizer.param_groups[0]["effective_lr"] == 0.0


def test_a_lower_bound_shifts_the_loss() -> None:
    theta = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer = ALIG([theta], lower_bound=-1.0, eps=0.0)

    def closure() -> Tensor:
        loss = 0.5 * theta.square().sum() - 1.0
        loss.backward()
        return loss

    optimizer.step(closure)
    assert theta.item() == 1.0  # as for ½ θ² and the bound 0: half-way to the minimum


def test_where_the_cap_always_holds_it_is_sgd() -> None:
    # g is taken times τ before it is subtracted, where torch does both at once: the last bit may differ.
    problem, other = make_problem(), make_problem()
    optimizer = ALIG(problem.net.parameters(), cap=1e-3)
    problem.train(optimizer, range(100))
    other.train(torch.optim.SGD(other.net.parameters(), lr=1e-3), range(100))
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.CAPPED
    assert_close(problem.parameters(), other.parameters(), 1e-13)


def test_where_the_cap_always_holds_adjusted_momentum_is_nesterov_s_of_torch() -> None:
    problem, other = make_problem(), make_problem()
    problem.train(ALIG(problem.net.parameters(), cap=1e-3, momentum=0.9, adjusted=True), range(100))
    other.train(torch.optim.SGD(other.net.parameters(), lr=1e-3, momentum=0.9, nesterov=True), range(100))
    assert_close(problem.parameters(), other.parameters(), 1e-12)


def test_at_a_constant_step_both_forms_of_momentum_are_the_same() -> None:
    problem, other = make_problem(), make_problem()
    problem.train(ALIG(problem.net.parameters(), cap=1e-3, momentum=0.9), range(50))
    other.train(ALIG(other.net.parameters(), cap=1e-3, momentum=0.9, adjusted=True), range(50))
    assert_close(problem.parameters(), other.parameters(), 1e-12)


def test_each_group_has_its_own_cap_under_one_size() -> None:
    left, right = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = ALIG([{"params": [left], "lr": 0.125}, {"params": [right], "lr": None}], eps=0.0)
    with optimizer.record():
        (0.5 * (left.square() + right.square())).sum().backward()
    optimizer.step()  # γ = 1 / 2
    assert [group["effective_lr"] for group in optimizer.param_groups] == [0.125, 0.5]
    assert (left.item(), right.item()) == (0.875, 0.5)


def test_the_ball_is_that_of_all_parameters_and_holds_from_the_start() -> None:
    problem = make_problem()
    before = flat(problem.parameters())
    optimizer = ALIG(problem.net.parameters(), max_norm=0.5)
    torch.testing.assert_close(flat(problem.parameters()), before * (0.5 / before.norm()), rtol=1e-14, atol=0.0)
    for batch in range(10):
        optimizer.step(problem.closure(optimizer, batch))
        assert float(flat(problem.parameters()).norm()) <= 0.5 * (1 + 1e-14)


def test_a_closure_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    optimizer = ALIG(problem.net.parameters())

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("recorded")

    monkeypatch.setattr("curvestep.optim._recorded.record", refuse)
    optimizer.step(problem.closure(optimizer, 0))
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved


def test_neither_closure_nor_recording_is_refused() -> None:
    with pytest.raises(RecordingError, match="nothing was recorded"):
        ALIG([torch.zeros(1, requires_grad=True)]).step()


@pytest.mark.parametrize("returned", [None, torch.zeros(2), "loss"])
def test_a_closure_that_returns_no_loss_is_refused(returned: object) -> None:
    theta = torch.ones(2, requires_grad=True)

    def closure() -> object:
        theta.sum().backward()
        return returned

    with pytest.raises(RecordingError, match=r"end it with 'return loss'"):
        ALIG([theta]).step(closure)
    assert theta.tolist() == [1.0, 1.0]


def test_a_closure_may_return_a_number() -> None:
    theta = torch.ones(2, requires_grad=True)

    def closure() -> float:
        loss = theta.sum()
        loss.backward()
        return loss.item()

    assert ALIG([theta], eps=0.0).step(closure) == 2.0
    assert theta.tolist() == [0.0, 0.0]


def test_without_a_cap_a_gradient_too_small_to_divide_by_moves_nothing() -> None:
    theta = torch.tensor([1e-200], dtype=torch.float64, requires_grad=True)
    optimizer = ALIG([theta], cap=None, eps=0.0)
    with optimizer.record():
        (1.0 + 1e-155 * theta).sum().backward()
    optimizer.step()
    assert theta.item() == 1e-200
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_STEP


def test_schedulers_leave_no_cap_without_one() -> None:
    problem = make_problem()
    optimizer = ALIG(problem.net.parameters(), cap=None)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    problem.train(optimizer, range(1))
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == float("inf")
    before = problem.parameters()
    problem.train(optimizer, range(1, 2))
    assert any(not torch.equal(a, b) for a, b in zip(before, problem.parameters(), strict=True))


def test_the_same_state_whatever_the_scale_of_the_loss() -> None:
    problem, other = make_problem(), make_problem()
    first = ALIG(problem.net.parameters(), momentum=0.5, eps=0.0, cap=None)
    second = ALIG(other.net.parameters(), momentum=0.5, eps=0.0, cap=None)
    for batch in range(5):
        first.step(problem.closure(first, batch))
        second.zero_grad()
        with second.record():
            (4.0 * other.loss(batch)).backward()
        second.step()
    assert_bitwise_equal(problem.parameters(), other.parameters())
