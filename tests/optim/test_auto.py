"""Auto against a naive float64 version of its formulas, written from its docstring and that of its rule alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import curvestep
from curvestep import Outcome
from tests.optim.problem import assert_bitwise_equal, make_problem
from tests.optim.windowed import short_auto


def test_it_is_its_formulas_over_a_hundred_calls() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    start = 0.02 * draw(3, 2)
    batches = [(draw(10, 3), draw(10, 2)) for _ in range(100)]

    def sample_losses(weight: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return ((torch.sin(40.0 * batch[0] @ weight) - batch[1]) ** 2).mean(dim=1)

    def bend(loss: Tensor, at: Tensor, way: Tensor) -> float:
        (first,) = torch.autograd.grad(loss, at, create_graph=True, retain_graph=True)
        (second,) = torch.autograd.grad((first * way).sum(), at, retain_graph=True)
        return float((second * way).sum())

    theta = start.clone().requires_grad_()
    optimizer = short_auto([theta])
    scales: list[float] = []

    weight, mean, opened = start.clone(), start.clone(), start.clone()
    m, v = torch.zeros_like(start), torch.zeros_like(start)
    k, begun, end, s0, u, kinked = 0, 0, 5, 0.0, 0.0, 0
    noise = progress = variance = weights = 0.0
    first_loss = None
    for batch in batches:
        optimizer.zero_grad()
        with optimizer.record():
            sample_losses(theta, batch).mean().backward()
        optimizer.step()

        at_end = k == end
        if at_end:  # a window's end: this batch is measured at the average
            at = mean.clone().requires_grad_()
            losses = sample_losses(at, batch)
            height = 0.5 * bend(losses.mean(), at, weight - mean)
            at_iterate = float(sample_losses(weight, batch).mean())
            here, before = float(losses.mean().detach()), float(sample_losses(opened, batch).mean())
            folds = math.log(k / max(begun, 1))
            spread = float(((mean - opened) ** 2 * (v / (1 - 0.98**k) - m * m).clamp_min(0.0)).sum()) ** 0.5
            first_loss = before if first_loss is None else first_loss
            (rise,) = torch.autograd.grad(losses.mean(), at, retain_graph=True)
            gap = at_iterate - here - float((rise * (weight - mean)).sum())
            kinked += gap > 10.0 * abs(height)
            weights, noise = 0.5 * weights + 1.0, 0.5 * noise + (gap if gap > 10.0 * abs(height) else abs(height))
            progress = 0.5 * progress + (before - here) / folds
            variance = 0.25 * variance + (spread / folds) ** 2
            floor = 0.03 * weights * max(0.0, min(here, first_loss - here))
            if progress + 2.0 * variance**0.5 < 0.0:
                floor = -math.inf
            held, most = min(max(progress, floor), 1.5 * weights * here), math.log(2.0)
            f = -most if held <= 0.0 else 0.4 * 0.5 * math.log(0.015 * k**0.5 * held / noise)
            plateau = progress < floor and noise < 0.015 * k**0.5 * floor
            u = 0.7 * u + (most if plateau else min(max(f, -most), most))
            scales.append(u)
            opened, begun, end = mean.clone(), k, int(1.25 * k) + 5
        k += 1
        own = (mean if at_end else weight).clone().requires_grad_()
        losses = sample_losses(own, batch)
        (g,) = torch.autograd.grad(losses.mean(), own, retain_graph=True)
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
        d = (0.9 * m + 0.1 * g) / (1 - 0.9 ** (k + 1)) / ((v / (1 - 0.98**k)).sqrt() + 1e-8)
        if k == 1:  # a quarter of ten samples, rounded up, spread over the batch
            rows = [i for i in range(10) if (i + 1) * 3 // 10 > i * 3 // 10]
            curvature = sum(abs(bend(losses[i], own, d)) for i in rows) / 3
            bound = abs(float((d * g).sum())) / curvature
            s0 = min(max(0.07 * float(start.square().mean().sqrt()), bound / 30.0), 10.0 * bound)
        weight = weight - s0 * min(1.0, k / 20) * math.exp(u) * d
        mean = mean + 9 / (k + 8) * (weight - mean)

    assert len(scales) == 8 and min(scales) < 0.0 < max(scales)
    # Both take other ways to the curvature, and a hundred steps let roundings grow.
    torch.testing.assert_close(theta.detach(), weight, rtol=1e-8, atol=1e-10)
    with optimizer.averaged():
        torch.testing.assert_close(theta.detach(), mean, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["hinge", "absolute error"])
def test_a_loss_of_straight_pieces_does_not_run_away(kind: str) -> None:
    """It has no curvature anywhere. The bound is twice what is left at the minimum, 0.10 and 0.39."""
    torch.manual_seed(0)
    inputs, truth = torch.randn(2000, 20), torch.randn(20)
    noisy = inputs @ truth + 0.5 * torch.randn(2000)
    theta = (0.1 * torch.randn(20)).requires_grad_()

    def loss(rows: Tensor) -> Tensor:
        out = inputs[rows] @ theta
        losses = (1.0 - noisy[rows].sign() * out).clamp_min(0.0) if kind == "hinge" else (out - noisy[rows]).abs()
        return losses.mean()

    optimizer = curvestep.Auto([theta])
    for _ in range(300):
        with optimizer.record(batch_size=64):
            loss(torch.randint(2000, (64,))).backward()
        optimizer.step()
        optimizer.zero_grad()
    with optimizer.averaged(), torch.no_grad():
        assert float(loss(torch.arange(2000))) < {"hinge": 0.2, "absolute error": 0.78}[kind]


@pytest.mark.parametrize("stands", [False, True])
def test_a_windows_end_without_a_step_begins_the_next_window_all_the_same(stands: bool) -> None:
    """With every lr at 0 nothing moves; with a gradient of zero nothing does, as on any other step."""
    problem = make_problem()
    optimizer = short_auto(problem.net.parameters(), 1.0, 3)
    problem.train(optimizer, range(3))
    before, size = problem.parameters(), optimizer.param_groups[0]["lr"]
    optimizer.param_groups[0]["lr"] = 0.0 if stands else size
    optimizer.zero_grad()
    with optimizer.record():
        (problem.loss(1) * (1.0 if stands else 0.0)).backward()
    optimizer.step()
    optimizer.zero_grad()
    assert optimizer.last_step is not None and optimizer.last_window is not None
    assert optimizer.last_step.outcome is (Outcome.ZERO_LR if stands else Outcome.ZERO_GRADIENT)
    assert_bitwise_equal(problem.parameters(), before)
    assert optimizer.last_window.step == 3 and not optimizer._ends_window()
    optimizer.param_groups[0]["lr"] = size
    problem.train(optimizer, range(1))
    assert optimizer.last_step.outcome is Outcome.WINDOW_SCALE
