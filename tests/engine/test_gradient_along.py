"""The gradient along a line against a fresh forward and backward at the moved parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import curvestep
from curvestep.testing import Problem
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph

# Both sides run the same formulas in float64, statistics in another order: some hundred roundings of 1e-16.
RELATIVE = 1e-11


def close(found: list[torch.Tensor], truth: list[torch.Tensor]) -> None:
    scale = max(float(t.abs().max()) for t in truth)
    for i, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert (a - b).abs().max() <= RELATIVE * scale, f"parameter {i}: {a} is not {b}"


def fresh(problem: Problem, t: float) -> list[torch.Tensor]:
    """Gradients of the loss run again at the moved parameters, which are put back."""
    before = [p.detach().clone() for p in problem.params]
    with torch.no_grad():
        for p, d in zip(problem.params, problem.direction, strict=True):
            p += t * d
    found = torch.autograd.grad(problem.loss(), list(problem.params), allow_unused=True)
    with torch.no_grad():
        for p, b in zip(problem.params, before, strict=True):
            p.copy_(b)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(problem.params, found, strict=True)]


@pytest.mark.parametrize("graph", GRAPHS + TASK_GRAPHS, ids=lambda graph: graph.name)
def test_the_gradient_along_a_line_is_the_gradient_there(graph: Graph) -> None:
    problem = graph.problem(torch.float64)
    with curvestep.record() as tape:
        problem.loss().backward()
    held = [p.grad for p in problem.params]
    here = [torch.zeros_like(p) if g is None else g.clone() for p, g in zip(problem.params, held, strict=True)]
    start = tape.gradient_along(problem.params, problem.direction, 0.0)
    moved = tape.gradient_along(problem.params, problem.direction, -0.7)
    assert all(p.grad is g for p, g in zip(problem.params, held, strict=True))
    close(start, here)
    close(moved, fresh(problem, -0.7))


def test_the_recorded_mask_and_fresh_statistics_serve_and_running_ones_stay() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3)).double()
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.randint(3, (5,))
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same mask again
        return F.cross_entropy(net(x), y)

    with curvestep.record() as tape:
        loss().backward()
    running = {name: b.clone() for name, b in net.named_buffers()}
    torch.manual_seed(2)
    state = torch.get_rng_state()
    found = tape.gradient_along(params, direction, 0.4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(b, running[name]) for name, b in net.named_buffers())
    close(found, fresh(Problem(params, direction, loss, loss), 0.4))


def test_a_parameter_that_the_forward_did_not_use_gets_zeros() -> None:
    used, unused = (torch.tensor([2.0], requires_grad=True) for _ in range(2))
    with curvestep.record() as tape:
        (used**2).sum().backward()
    along = [torch.ones(1), torch.ones(1)]
    assert [g.item() for g in tape.gradient_along([used, unused], along, 1.0)] == [6.0, 0.0]
    assert tape.gradient_along([unused], along[:1], 1.0)[0].item() == 0.0


def test_a_scaled_backward_scales_it() -> None:
    w = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward(torch.tensor(8.0))
    assert tape.gradient_along([w], [torch.ones(1)], 1.0)[0].item() == 48.0


def test_a_direction_of_another_shape_is_refused() -> None:
    w = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    with pytest.raises(curvestep.CurvestepError, match="A direction of shape"):
        tape.gradient_along([w], [torch.ones(2)], 1.0)
