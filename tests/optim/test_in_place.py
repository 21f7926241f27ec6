"""Steps that measure nothing write the states in place: the same numbers, and nothing where a step is refused."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from curvestep._records import Outcome
from curvestep.optim import LQA, AbstractComposedOptimizer, Auto, GeN, RescaledAdam, RescaledSGD
from tests.optim.problem import assert_bitwise_equal, make_problem

MEASURED_AT_FIRST = 23  # after it a lazy rule leaves out the next two steps
Make = Callable[[Any], AbstractComposedOptimizer]
LAZY: dict[str, Make] = {
    "Auto": Auto,
    "Auto with L2": lambda p: Auto(p, weight_decay=0.01),
    "RescaledAdam": lambda p: RescaledAdam(p, lr=0.1, curvature_every=4, averaging=2.0),
    "RescaledSGD": lambda p: RescaledSGD(p, lr=0.1, momentum=0.9, curvature_every=4),
    "LQA": lambda p: LQA(p, every=4),
    "GeN": lambda p: GeN(p, every=4),
}
every_lazy_one = pytest.mark.parametrize("make", LAZY.values(), ids=LAZY.keys())


def tensors_of(optimizer: AbstractComposedOptimizer) -> list[dict[str, Any]]:
    return [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]


@every_lazy_one
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_they_are_the_steps_of_the_pure_form_bit_for_bit(
    make: Make, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, pure = make_problem(dtype), make_problem(dtype)
    first, second = make(ours.net.parameters()), make(pure.net.parameters())
    for batch in range(MEASURED_AT_FIRST + 10):
        first.step(ours.closure(first, batch))
        with monkeypatch.context() as patch:
            patch.setattr(type(second), "_is_safe", lambda self, parts, ell: False)
            second.step(pure.closure(second, batch))
        assert first.last_step == second.last_step
        assert_bitwise_equal(ours.parameters(), pure.parameters())
        for left, right in zip(tensors_of(first), tensors_of(second), strict=True):
            assert left.keys() == right.keys()
            assert all(torch.equal(torch.as_tensor(left[name]), torch.as_tensor(right[name])) for name in left)


def test_unmeasured_steps_keep_the_tensors_of_the_state() -> None:
    problem = make_problem()
    optimizer = Auto(problem.net.parameters())
    problem.train(optimizer, range(MEASURED_AT_FIRST))
    held = [dict(state) for state in tensors_of(optimizer)]
    problem.train(optimizer, range(2))
    for before, after in zip(held, tensors_of(optimizer), strict=True):
        assert all(before[name] is after[name] for name in before if isinstance(before[name], Tensor))
        assert after["step"] == before["step"] + 2


@pytest.mark.parametrize("entry", [float("nan"), float("inf"), 1e25])
@every_lazy_one
def test_a_gradient_whose_norm_is_not_finite_leaves_everything(make: Make, entry: float) -> None:
    problem = make_problem(torch.float32)
    optimizer = make(problem.net.parameters())
    problem.train(optimizer, range(MEASURED_AT_FIRST))
    before, state = problem.parameters(), copy.deepcopy(optimizer.state_dict()["state"])
    with optimizer.record():
        problem.loss(0).backward()
    problem.layers[0].weight.grad[2, 3] = entry  # pyright: ignore[reportOptionalSubscript]
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_GRADIENT
    assert_bitwise_equal(problem.parameters(), before)
    for index, kept in optimizer.state_dict()["state"].items():
        for name, value in state[index].items():
            assert torch.equal(torch.as_tensor(kept[name]), torch.as_tensor(value))


def lazy_adam() -> tuple[Tensor, RescaledAdam]:
    """Two numbers under RescaledAdam with averages that halve, a few steps after its measured ones."""
    theta, samples = torch.tensor([3.0, 4.0], requires_grad=True), torch.zeros(4, 2)
    optimizer = RescaledAdam([theta], lr=0.1, betas=(0.5, 0.5), curvature_every=100)
    for _ in range(MEASURED_AT_FIRST):
        with optimizer.record():
            theta.grad = None
            ((theta - samples) ** 2).mean().backward()
        optimizer.step()
    return theta, optimizer


def test_a_direction_of_length_zero_leaves_everything() -> None:
    theta, optimizer = lazy_adam()
    optimizer.state[theta]["exp_avg"].copy_(torch.tensor([-2.0, 1.0]))
    saved, before = {name: torch.as_tensor(v).clone() for name, v in optimizer.state[theta].items()}, theta.clone()
    theta.grad = torch.tensor([2.0, -1.0])  # ½ m + ½ g = 0
    optimizer.step(lambda: torch.tensor(1.0))  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.ZERO_DIRECTION
    assert torch.equal(theta, before)
    assert all(torch.equal(torch.as_tensor(optimizer.state[theta][name]), value) for name, value in saved.items())


def test_a_loaded_state_that_is_not_finite_is_left_as_it_is() -> None:
    theta, optimizer = lazy_adam()
    optimizer.state[theta]["exp_avg_sq"][1] = float("nan")
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    optimizer.load_state_dict(torch.load(buffer, weights_only=True))
    theta.grad = torch.tensor([2.0, -1.0])
    optimizer.step(lambda: torch.tensor(1.0))  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_CURVATURE
    assert optimizer.state[theta]["step"] == MEASURED_AT_FIRST
    assert optimizer.state[theta]["exp_avg_sq"][0] != 0.5 * optimizer.state[theta]["exp_avg_sq"][0] + 0.5 * 4.0


def test_options_edited_between_steps_are_those_of_the_next_step() -> None:
    problem = make_problem()
    optimizer = RescaledAdam(problem.net.parameters(), lr=0.1, curvature_every=4, band=(0.0, 1.0, 0.75))
    problem.train(optimizer, range(MEASURED_AT_FIRST))
    group = optimizer.param_groups[0]
    group["max_relative_step"] = 1e-9
    problem.train(optimizer, range(1))
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.CLAMPED
    group["max_relative_step"], group["band"] = 10.0, [0.0, 1.0, 0.75]
    problem.train(optimizer, range(1))
    group["band"][1] = 1e-12  # in place
    problem.train(optimizer, range(1))
    assert optimizer.last_step.outcome is Outcome.OUT_OF_BAND
    group["lr"] = 1e-3
    problem.train(optimizer, range(1))
    assert optimizer.last_step.ell == 1e-3
    group["curvature_every"] = 1
    assert optimizer._needs_tape
