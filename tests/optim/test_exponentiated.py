"""EGStepSize and EGDD: published vectors, the algorithm written out naively, reductions, and the laws of a wrapper."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from curvestep._errors import CurvestepError
from curvestep._records import Outcome
from curvestep.optim import EGDD, EGStepSize, RescaledSGD
from tests.optim.problem import Problem, assert_bitwise_equal, assert_close, make_problem
from tests.reference import egdd

Make = Callable[[Any], Optimizer]

BASES: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}
WRAPPERS: dict[str, Make] = {
    "EGStepSize-global": lambda p: EGStepSize(torch.optim.AdamW(p, lr=0.01), gain_lr=0.05, scale_lr=0.05),
    "EGStepSize-tensor": lambda p: EGStepSize(torch.optim.SGD(p, lr=0.1), scope="tensor", gain_lr=0.05, scale_lr=0.05),
    "EGStepSize-raw": lambda p: EGStepSize(torch.optim.SGD(p, lr=0.1), signs=False, directions=False, scale_lr=0.05),
    "EGDD": lambda p: EGDD(p, 0.1),
}
every_base = pytest.mark.parametrize("make", BASES.values(), ids=BASES.keys())
every_wrapper = pytest.mark.parametrize("make", WRAPPERS.values(), ids=WRAPPERS.keys())


@pytest.mark.parametrize(
    ("signs", "theta", "update", "gain"),
    [
        (False, [0.5810, 1.2463], [-0.0909, -0.1961], [0.9990, 1.0075]),
        (True, [0.5801, 1.2466], [-0.0900, -0.1965], [0.9900, 1.0101]),
    ],
)
def test_the_published_vectors(signs: bool, theta: list[float], update: list[float], gain: list[float]) -> None:
    parameter = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = EGDD([parameter], rate=0.1, momentum=0.9, decay=0.1, gain_lr=1e-2, scale_lr=1e-3, signs=signs)
    parameter.grad = torch.tensor([0.1, -0.5], dtype=torch.float64)
    optimizer.step()
    state = optimizer.state[parameter]
    assert parameter.tolist() == pytest.approx([0.49, 1.05], abs=1e-12)
    assert state["last_update"].tolist() == pytest.approx([0.01, -0.05], abs=1e-12)
    assert (state["gain"].tolist(), state["scale"]) == ([1.0, 1.0], 1.0)
    parameter.grad = torch.tensor([-1.0, -1.5], dtype=torch.float64)
    optimizer.step()
    state = optimizer.state[parameter]
    # The vectors are given to four digits.
    assert parameter.tolist() == pytest.approx(theta, abs=1e-4)
    assert state["last_update"].tolist() == pytest.approx(update, abs=1e-4)
    assert state["gain"].tolist() == pytest.approx(gain, abs=1e-4)
    assert state["scale"] == pytest.approx(1.0007, abs=1e-4)


def gradients_on(problem: Problem) -> Callable[[list[Tensor], int], list[Tensor]]:
    def gradients(thetas: list[Tensor], k: int) -> list[Tensor]:
        with torch.no_grad():
            for parameter, theta in zip(problem.net.parameters(), thetas, strict=True):
                parameter.copy_(theta)
        return list(torch.autograd.grad(problem.loss(k), list(problem.net.parameters())))

    return gradients


@pytest.mark.parametrize("joined", [False, True], ids=["tensor", "global"])
@pytest.mark.parametrize(("signs", "directions"), [(True, True), (False, True), (True, False), (False, False)])
def test_a_hundred_steps_follow_the_algorithm(signs: bool, directions: bool, joined: bool) -> None:
    problem, other = make_problem(), make_problem()
    expected, gains, scales = egdd.train(
        other.parameters(), gradients_on(other), 100, 0.05, 0.9,
        gamma_p=0.05, gamma_s=0.05, signs=signs, directions=directions, joined=joined,
    )  # fmt: skip
    if joined:
        base = torch.optim.SGD(problem.net.parameters(), lr=0.05, momentum=0.9)
        optimizer: Optimizer = EGStepSize(base, gain_lr=0.05, scale_lr=0.05, signs=signs, directions=directions)
    else:
        optimizer = EGDD(
            problem.net.parameters(), 0.05, 0.9, gain_lr=0.05, scale_lr=0.05, signs=signs, directions=directions
        )
    found = []
    for batch in range(100):
        problem.train(optimizer, range(batch, batch + 1))
        found.append(torch.cat([p.reshape(-1) for p in problem.parameters()]))
    # u is the difference of parameters of order 1: 1e-16 of it is lost a step, relative to steps of 1e-3.
    assert_close(found, [torch.cat([t.reshape(-1) for t in thetas]) for thetas in expected], 1e-9)
    for parameter, gain in zip(problem.net.parameters(), gains, strict=True):
        torch.testing.assert_close(optimizer.state[parameter]["gain"], gain, rtol=1e-9, atol=0.0)
    found_scales = [
        optimizer.param_groups[0]["scale"] if joined else optimizer.state[p]["scale"] for p in problem.net.parameters()
    ]
    assert found_scales == pytest.approx(scales, rel=1e-9)
    assert max(abs(scale - 1.0) for scale in scales) > 1e-3  # the scale did move


@every_base
def test_with_both_rates_at_zero_it_is_the_base_bit_for_bit(make: Make) -> None:
    problem, other = make_problem(torch.float32), make_problem(torch.float32)
    problem.train(EGStepSize(make(problem.net.parameters()), gain_lr=0.0, scale_lr=0.0), range(100))
    other.train(make(other.net.parameters()), range(100))
    assert_bitwise_equal(problem.parameters(), other.parameters())


@every_base
def test_the_first_step_is_the_base_s_bit_for_bit(make: Make) -> None:
    problem, other = make_problem(torch.float32), make_problem(torch.float32)
    problem.train(EGStepSize(make(problem.net.parameters())), range(1))
    other.train(make(other.net.parameters()), range(1))
    assert_bitwise_equal(problem.parameters(), other.parameters())


@every_base
def test_with_the_gains_off_and_the_scale_held_it_scales_every_update(make: Make) -> None:
    # A range of one number holds s at 1, whatever its rate.
    problem, other = make_problem(), make_problem()
    problem.train(
        EGStepSize(make(problem.net.parameters()), gain_lr=0.0, scale_lr=0.5, scale_range=(1.0, 1.0)), range(50)
    )
    other.train(make(other.net.parameters()), range(50))
    assert_bitwise_equal(problem.parameters(), other.parameters())


@every_wrapper
def test_training_lowers_the_loss_and_keeps_the_dtype(make: Make) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        problem = make_problem(dtype)
        optimizer = make(problem.net.parameters())
        problem.train(optimizer, range(100))
        with torch.no_grad():
            start, end = (sum(p.loss(batch).item() for batch in range(5)) for p in (make_problem(dtype), problem))
        assert end < 0.8 * start
        assert {parameter.dtype for parameter in problem.net.parameters()} == {dtype}
        own = ("gain", "gradient_average", "last_update")  # what the base keeps is the base's affair
        kept = [state[name] for state in optimizer.state.values() for name in own if name in state]
        assert {value.dtype for value in kept} == {torch.float32}


@every_wrapper
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(make: Make, dtype: torch.dtype) -> None:
    problem, other = make_problem(dtype), make_problem(dtype)
    optimizer, resumed = make(problem.net.parameters()), make(other.net.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    later = torch.optim.lr_scheduler.ExponentialLR(resumed, 0.9)
    for batch in range(4):
        problem.train(optimizer, range(batch, batch + 1))
        schedule.step()
    buffer = io.BytesIO()
    saved = {"net": problem.net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(saved, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)
    other.net.load_state_dict(loaded["net"])
    resumed.load_state_dict(loaded["optimizer"])
    later.load_state_dict(loaded["schedule"])
    for trained, its, schedules in ((problem, optimizer, schedule), (other, resumed, later)):
        for batch in range(4, 8):
            trained.train(its, range(batch, batch + 1))
            schedules.step()
    assert_bitwise_equal(problem.parameters(), other.parameters())


@every_wrapper
def test_copies_and_pickles_go_on_alike(make: Make) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    problem.train(optimizer, range(3))
    restored: tuple[Problem, Optimizer] = pickle.loads(pickle.dumps((problem, optimizer)))
    copied: tuple[Problem, Optimizer] = copy.deepcopy((problem, optimizer))
    problem.train(optimizer, range(3, 6))
    for again, its in (restored, copied):
        again.train(its, range(3, 6))
        assert_bitwise_equal(again.parameters(), problem.parameters())


@every_wrapper
def test_gradients_are_the_tensors_that_they_were(make: Make) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    problem.train(optimizer, range(2))
    optimizer.zero_grad()
    problem.loss(2).backward()
    held = [(p.grad, p.grad.clone()) for p in problem.net.parameters() if p.grad is not None]
    optimizer.step()
    for parameter, (gradient, copied) in zip(problem.net.parameters(), held, strict=True):
        assert parameter.grad is gradient and torch.equal(gradient, copied)


def test_gradients_are_put_back_where_the_base_raises() -> None:
    class Broken(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            raise RuntimeError("broken")

    theta = torch.ones(2, requires_grad=True)
    optimizer = EGStepSize(Broken([theta], lr=0.1))
    gradient = theta.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match="broken"):
        optimizer.step()
    assert theta.grad is gradient


@every_wrapper
@pytest.mark.parametrize("worst", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_a_gradient_that_is_not_finite_changes_nothing(make: Make, worst: float) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    problem.train(optimizer, range(2))
    before, state = problem.parameters(), copy.deepcopy(optimizer.state_dict())
    optimizer.zero_grad()
    (worst * problem.loss(2)).backward()
    optimizer.step()
    assert isinstance(optimizer, (EGStepSize, EGDD)) and optimizer.last_step is not None
    assert optimizer.last_step.outcome is Outcome.NON_FINITE_GRADIENT
    assert_bitwise_equal(problem.parameters(), before)
    assert str(optimizer.state_dict()["state"]) == str(state["state"])
    problem.train(optimizer, range(3, 4))
    assert optimizer.last_step.outcome is Outcome.TAKEN


@every_wrapper
def test_frozen_and_unused_parameters_are_left_alone(make: Make) -> None:
    problem, smaller = make_problem(), make_problem()
    unused = torch.ones(3, dtype=torch.float64, requires_grad=True)
    for each in (problem, smaller):
        each.layers[0].bias.requires_grad_(False)
    problem.train(make([*problem.net.parameters(), unused]), range(5))
    smaller.train(make([p for p in smaller.net.parameters() if p.requires_grad]), range(5))
    assert_bitwise_equal(problem.parameters(), smaller.parameters())
    assert unused.tolist() == [1.0] * 3


@every_wrapper
def test_a_gradient_of_zero_leaves_gains_and_scales(make: Make) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    problem.train(optimizer, range(3))
    before = copy.deepcopy([optimizer.state[p]["gain"] for p in problem.net.parameters()])
    scales = [optimizer.state[p].get("scale") for p in problem.net.parameters()], optimizer.param_groups[0]["scale"]
    optimizer.zero_grad()
    (0.0 * problem.loss(3)).backward()
    optimizer.step()
    assert_bitwise_equal([optimizer.state[p]["gain"] for p in problem.net.parameters()], before)
    after = [optimizer.state[p].get("scale") for p in problem.net.parameters()], optimizer.param_groups[0]["scale"]
    assert after == scales


@every_wrapper
def test_splitting_the_parameters_into_groups_changes_nothing(make: Make) -> None:
    together, apart = make_problem(), make_problem()
    together.train(make(together.net.parameters()), range(10))
    apart.train(make([{"params": list(layer.parameters())} for layer in apart.layers]), range(10))
    assert_bitwise_equal(together.parameters(), apart.parameters())


def test_groups_are_the_base_s_own_and_schedulers_reach_it() -> None:
    problem = make_problem()
    base = torch.optim.SGD(problem.net.parameters(), lr=0.1)
    optimizer = EGStepSize(base)
    assert optimizer.param_groups is base.param_groups
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    problem.train(optimizer, range(1))
    schedule.step()
    assert base.param_groups[0]["lr"] == 0.05
    extra = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer.add_param_group({"params": [extra], "lr": 0.5})
    assert len(base.param_groups) == 2 and optimizer.param_groups is base.param_groups
    extra.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()
    assert extra.tolist() == pytest.approx([1.0 - 0.5 * optimizer.param_groups[1]["scale"]] * 2, rel=1e-14)
    assert optimizer.param_groups[1]["effective_lr"] == 0.5 * optimizer.param_groups[1]["scale"]


def test_the_scale_falls_where_steps_overshoot_and_rises_where_they_are_short() -> None:
    for rate, sign in ((1.9, -1.0), (1e-3, 1.0)):
        theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = EGStepSize(torch.optim.SGD([theta], lr=rate), gain_lr=0.0, scale_lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            (0.5 * theta.square()).sum().backward()
            optimizer.step()
        # In one variable ⟨ĝ, û⟩ is the sign, and the first step has no u.
        assert optimizer.param_groups[0]["scale"] == pytest.approx(2.718281828459045 ** (sign * 0.3), rel=1e-6)


def test_around_a_recorded_optimizer_the_closure_is_recorded() -> None:
    problem, other = make_problem(), make_problem()
    problem.train(EGStepSize(RescaledSGD(problem.net.parameters(), 0.5), gain_lr=0.0, scale_lr=0.0), range(5))
    other.train(RescaledSGD(other.net.parameters(), 0.5), range(5))
    assert_bitwise_equal(problem.parameters(), other.parameters())


def test_sparse_gradients_are_refused_in_a_sentence() -> None:
    table = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = EGStepSize(torch.optim.SGD(table.parameters(), lr=0.1))
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(CurvestepError, match="sparse=False"):
        optimizer.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scope": "layer"}, r"scope='layer' was given"),
        ({"gain_lr": -1.0}, r"gain_lr .* but -1\.0 was given"),
        ({"scale_lr": float("nan")}, r"scale_lr .* but nan was given"),
        ({"decay": 1.0}, r"decay .* but 1\.0 was given"),
        ({"gain_range": (2.0, 3.0)}, r"gain_range=\(2\.0, 3\.0\) was given"),
        ({"scale_range": 0.1}, r"scale_range=0\.1 was given"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EGStepSize(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), **options)


def test_what_cannot_be_wrapped_is_refused() -> None:
    theta = torch.zeros(1, requires_grad=True)
    with pytest.raises(ValueError, match="several times a step"):
        EGStepSize(torch.optim.LBFGS([theta]))
    with pytest.raises(ValueError, match="learns a scale itself"):
        EGStepSize(EGDD([theta], 0.1))
    with pytest.raises(ValueError, match="must be a torch optimizer"):
        EGStepSize([theta])  # pyright: ignore[reportArgumentType]
