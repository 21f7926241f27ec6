"""attach: the loop without a line for the recording takes the steps of the loop with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import curvestep
from curvestep._errors import CurvestepError, RecordingError
from curvestep.engine import open_recorder
from tests.optim.problem import Problem, assert_bitwise_equal, make_problem
from tests.optim.windowed import short_auto

MAKES: dict[str, Callable[[Any], Any]] = {
    "Auto": short_auto,
    "RescaledAdam": lambda p: curvestep.RescaledAdam(p, lr=0.3),
    "held": lambda p: curvestep.RescaledAdam(p, lr=0.3, curvature_every=3, max_relative_step=0.1),
    "LQA": lambda p: curvestep.LQA(p, lr=0.3),
    "ALIG": curvestep.ALIG,
    "EGStepSize": lambda p: curvestep.EGStepSize(torch.optim.AdamW(p)),
}
every_make = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


def with_lines(problem: Problem, make: Callable[[Any], Any], parts: int, clip: float) -> None:
    optimizer = make(problem.net.parameters())
    for batch in range(12):
        optimizer.zero_grad()
        for part in range(parts):
            with optimizer.record():
                (problem.loss(batch + part) / parts).backward()
        nn.utils.clip_grad_norm_(problem.net.parameters(), clip)
        optimizer.step()


def without_lines(problem: Problem, make: Callable[[Any], Any], parts: int, clip: float) -> None:
    optimizer = make(problem.net.parameters())
    attachment = curvestep.attach(problem.net, optimizer)
    for batch in range(12):
        optimizer.zero_grad()
        for part in range(parts):
            (problem.loss(batch + part) / parts).backward()
            assert open_recorder() is None, "The recording ends with backward."
        nn.utils.clip_grad_norm_(problem.net.parameters(), clip)
        optimizer.step()
        problem.net.eval()
        problem.loss(batch)  # looks that are not trained on
        problem.net.train()
        with torch.no_grad():
            problem.loss(batch)
    attachment.remove()
    problem.loss(0)
    assert open_recorder() is None


@every_make
@pytest.mark.parametrize("parts", [1, 3])
def test_the_steps_are_those_of_the_recorded_loop(make: Callable[[Any], Any], parts: int) -> None:
    one, other = make_problem(), make_problem()
    with_lines(one, make, parts, 1e9)
    without_lines(other, make, parts, 1e9)
    assert_bitwise_equal(one.parameters(), other.parameters())


def test_clipping_after_backward_is_seen() -> None:
    one, other = make_problem(), make_problem()
    with_lines(one, MAKES["RescaledAdam"], 1, 0.1)
    without_lines(other, MAKES["RescaledAdam"], 1, 0.1)
    assert_bitwise_equal(one.parameters(), other.parameters())


@every_make
def test_a_closure_is_recorded_as_ever(make: Callable[[Any], Any]) -> None:
    one, other = make_problem(), make_problem()
    optimizer, attached = make(one.net.parameters()), make(other.net.parameters())
    curvestep.attach(other.net, attached)
    one.train(optimizer, range(9))  # beyond a window's end
    other.train(attached, range(9))
    assert_bitwise_equal(one.parameters(), other.parameters())


def test_a_model_that_is_called_twice_has_one_recording() -> None:
    problem = make_problem()
    optimizer = curvestep.RescaledSGD(problem.net.parameters())
    curvestep.attach(problem.net, optimizer)
    (problem.loss(0) + problem.loss(1)).backward()
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved


def test_a_forward_without_a_backward_is_forgotten() -> None:
    problem = make_problem()
    optimizer = curvestep.RescaledSGD(problem.net.parameters())
    curvestep.attach(problem.net, optimizer)
    problem.loss(0)
    with pytest.raises(RecordingError, match="none ran"):
        optimizer.step()
    assert open_recorder() is None
    problem.loss(1).backward()
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved


def test_a_wrapper_around_the_optimizer_is_seen_through() -> None:
    class Wrapper:
        def __init__(self, optimizer: Any) -> None:
            self.optimizer = optimizer

    problem = make_problem()
    optimizer = curvestep.RescaledSGD(problem.net.parameters())
    curvestep.attach(problem.net, Wrapper(optimizer))
    problem.loss(0).backward()
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved


def test_another_optimizer_is_refused() -> None:
    net = nn.Linear(2, 1)
    with pytest.raises(CurvestepError, match=r"one of curvestep's optimizers.*AdamW was given"):
        curvestep.attach(net, torch.optim.AdamW(net.parameters()))


def test_a_step_inside_autocast_and_under_a_scaler() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = curvestep.RescaledAdam(net.parameters(), lr=0.1)
    curvestep.attach(net, optimizer)
    scaler = torch.amp.GradScaler("cpu")
    inputs, targets = torch.randn(16, 6), torch.randint(3, (16,))
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(net(inputs).float(), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
