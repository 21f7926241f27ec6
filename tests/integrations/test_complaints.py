"""What people complain of in optimizers without a learning rate, met in a peer where it is installed, and not here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import curvestep
from curvestep.nn import refresh_batch_norm
from tests.optim.problem import Problem, assert_bitwise_equal, make_problem

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def peer(module: str) -> Any:
    return pytest.importorskip(module, reason="The peers come with the extra league.")


def scaled_step(optimizer: Any, w: Tensor, scaler: torch.amp.GradScaler) -> None:
    """A scaled backward and a step with a closure, by position: GradScaler refuses it by name alone."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (w**2).sum()
        scaler.scale(loss).backward()
        return loss

    closure()
    scaler.step(optimizer, closure)


def test_a_closure_under_a_grad_scaler() -> None:
    """pytorch#26512, Lightning#1561: Polyak's step from w = 1 along w² ends at 1/2."""
    w = torch.ones(1, requires_grad=True)
    scaled_step(peer("momo").Momo([w]), w, torch.amp.GradScaler("cpu", init_scale=1024.0))
    assert w.item() > 0.999, "The peer divides by a scaled gradient, a thousand times too short a step, and is silent."

    w = torch.ones(1, requires_grad=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = curvestep.ALIG([w], eps=0.0)
    with pytest.raises(curvestep.CurvestepError, match=r"GradScaler.step was given a closure.*Record the scaled"):
        scaled_step(optimizer, w, scaler)
    optimizer.zero_grad()
    with optimizer.record():
        scaler.scale((w**2).sum()).backward()
    scaler.step(optimizer)
    assert w.item() == pytest.approx(0.5), "J/‖g‖² · g = 1/4 · 2, the scale divided out"


def test_a_framework_that_hands_step_nothing() -> None:
    """Lightning#2785, kozistr#64: HF Trainer and Accelerate call ``step()``."""
    problem = make_problem(torch.float32)
    problem.loss(0).backward()
    with pytest.raises(AssertionError, match="loss tensor or closure must be passed"):
        peer("momo").Momo(problem.net.parameters()).step()

    for make in (curvestep.ALIG, curvestep.LQA, curvestep.Auto, curvestep.RescaledAdam):
        problem = make_problem(torch.float32)
        optimizer: Any = make(problem.net.parameters())
        curvestep.attach(problem.net, optimizer)
        problem.loss(0).backward()
        optimizer.step()
        assert optimizer.last_step.outcome.moved


def test_modes_of_the_optimizer() -> None:
    """Lightning#19759, transformers#30087: ``optimizer.train()`` before training, ``eval()`` before looking."""
    problem = make_problem(torch.float32)
    optimizer = peer("schedulefree").AdamWScheduleFree(problem.net.parameters())
    problem.loss(0).backward()
    with pytest.raises(Exception, match=r"not in train mode when step is called"):
        optimizer.step()

    problem = make_problem(torch.float32)
    optimizer = curvestep.Auto(problem.net.parameters())
    problem.train(optimizer, range(3))
    with optimizer.averaged(), pytest.raises(curvestep.CurvestepError, match="step outside of it"):
        problem.train(optimizer, range(1))
    problem.train(optimizer, range(3))


def test_batch_norm_with_averaged_weights() -> None:
    """schedule_free#11, #60: the running statistics are those of other weights than the evaluated ones."""
    generator = torch.Generator().manual_seed(0)
    data = 3.0 * torch.randn(256, 6, generator=generator) + 1.0
    labels = (data[:, 0] > data[:, 1]).long()

    def error(of: str) -> float:
        """How far running means are from the means that the evaluated weights give, in standard deviations."""
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        first, norm = net[0], net[1]
        assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None
        optimizer: Any
        if of == "peer":
            optimizer = peer("schedulefree").SGDScheduleFree(net.parameters(), lr=1.0)
            optimizer.train()
        else:
            optimizer = curvestep.RescaledSGD(net.parameters(), lr=0.3, averaging=8.0)
            curvestep.attach(net, optimizer)
        for step in range(60):
            rows = slice(32 * (step % 8), 32 * (step % 8) + 32)
            optimizer.zero_grad()
            functional.cross_entropy(net(data[rows]), labels[rows]).backward()
            optimizer.step()

        def distance() -> float:
            assert norm.running_mean is not None
            seen = first(data).detach()
            return float(((seen.mean(0) - norm.running_mean) / seen.std(0)).abs().max())

        if of == "peer":
            optimizer.eval()
            return distance()
        with optimizer.averaged():
            refresh_batch_norm(net, [data])
            return distance()

    assert error("own") < 1e-4
    assert error("peer") > 0.02


def losses_on_one_batch(problem: Problem, optimizer: Any) -> list[float]:
    found = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = problem.loss(0)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return [*found, problem.loss(0).item()]


def test_an_estimate_that_stays_at_its_start() -> None:
    """OneTrainer#412, prodigy#27, kohya#585: thousands of steps until the estimate has grown."""
    problem = make_problem(torch.float32)
    first, *_, last = losses_on_one_batch(problem, peer("prodigyopt").Prodigy(problem.net.parameters()))
    assert last > 0.95 * first, "Ten steps after its start at d0 = 1e-6 the peer has hardly moved."

    problem = make_problem(torch.float32)
    optimizer = curvestep.RescaledSGD(problem.net.parameters())
    curvestep.attach(problem.net, optimizer)
    first, *_, last = losses_on_one_batch(problem, optimizer)
    assert last < 0.5 * first


def test_groups_with_rates_of_their_own() -> None:
    """kohya_ss#953, sd-scripts#555: a text encoder at half the rate of the net."""

    def groups(problem: Problem) -> list[dict[str, Any]]:
        first, last = problem.layers
        return [{"params": first.parameters(), "lr": 0.25}, {"params": last.parameters(), "lr": 0.5}]

    problem = make_problem(torch.float32)
    optimizer = peer("prodigyopt").Prodigy(groups(problem))
    problem.loss(0).backward()
    with pytest.raises(RuntimeError, match="different lr values in different parameter groups"):
        optimizer.step()

    problem = make_problem(torch.float32)
    optimizer = curvestep.RescaledAdam(groups(problem))
    problem.train(optimizer, range(3))
    small, large = (group["effective_lr"] for group in optimizer.param_groups)
    assert 0.0 < small == pytest.approx(0.5 * large)


def test_a_run_that_goes_on_from_its_state() -> None:
    """kozistr#363, schedule_free#32, flashoptim#3: what was saved is not all that there was."""

    def resumed(make: Any, steps: Any) -> tuple[list[Tensor], list[Tensor]]:
        ends = []
        for again in (False, True):
            problem = make_problem(torch.float32)
            optimizer = make(problem.net.parameters())
            steps(problem, optimizer, range(5))
            if again:
                saved, optimizer = optimizer.state_dict(), make(problem.net.parameters())
                optimizer.load_state_dict(saved)
            steps(problem, optimizer, range(5, 10))
            ends.append(problem.parameters())
        return ends[0], ends[1]

    def with_loss(problem: Problem, optimizer: Any, which: range) -> None:
        for batch in which:
            optimizer.zero_grad()
            loss = problem.loss(batch)
            loss.backward()
            optimizer.step(loss=loss)

    whole, parts = resumed(peer("momo").Momo, with_loss)
    assert max(float((a - b).abs().max()) for a, b in zip(whole, parts, strict=True)) > 1e-2

    for make in (curvestep.Auto, curvestep.ALIG, curvestep.RescaledAdam, curvestep.LQA):
        assert_bitwise_equal(*resumed(make, Problem.train))
