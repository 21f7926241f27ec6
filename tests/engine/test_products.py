"""Two products instead of three: the same numbers at every length of the direction, in every network there is."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.engine.rules.bilinear import worth_it
from curvestep.testing import Problem
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph

Products = Literal["auto", "naive", "polarised"]
LENGTHS = (1e-8, 1.0, 1e4)


def measured(problem: Problem, products: Products, length: float, **options: object) -> Tensor:
    """The curvature of each sample along a direction of this length, divided by its square."""
    norm = torch.sqrt(sum((d * d).sum() for d in problem.direction))  # pyright: ignore[reportArgumentType]
    direction = [d * (length / norm) for d in problem.direction]
    with curvestep.record(products=products) as tape:
        problem.loss().backward()
    found = tape.curvature(problem.params, direction, **options)  # pyright: ignore[reportArgumentType]
    tape.release()
    for p in problem.params:
        p.grad = None
    square = length * length
    assert found.per_sample is not None
    return found.per_sample.double() / square


@pytest.mark.parametrize("graph", GRAPHS + TASK_GRAPHS, ids=lambda graph: graph.name)
def test_two_products_give_what_three_give(graph: Graph) -> None:
    exact = measured(graph.problem(torch.float64), "naive", 1.0)
    size = exact.abs().max()
    for length in LENGTHS:
        double = measured(graph.problem(torch.float64), "polarised", length)
        # Rounding alone: some thousand operations of relative error 1e-16, and squares of 1e-8 far from underflow.
        assert (double - exact).abs().max() <= 1e-11 * size
        for products in ("naive", "polarised", "auto"):
            single = measured(graph.problem(torch.float32), products, length)
            assert (single - exact).abs().max() <= 1e-4 * size, (products, length)


def wide() -> Problem:
    """A convolution and two layers that are large enough for "auto" to take two products."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 48, 3, padding=1), nn.Softplus(), nn.Conv2d(48, 48, 3, padding=1), nn.Softplus(), nn.Flatten(),
        nn.Linear(48 * 64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 10),
    )  # fmt: skip
    x, y = torch.randn(256, 3, 8, 8), torch.randint(0, 10, (256,))
    params = list(net.parameters())
    return Problem(params, [0.1 * torch.randn_like(p) for p in params], lambda: F.cross_entropy(net(x), y), None)  # pyright: ignore


@pytest.mark.parametrize("options", [{}, {"samples": 64}, {"form": "taylor"}], ids=str)
def test_auto_takes_two_products_where_they_are_large(options: dict[str, object]) -> None:
    problem = wide()
    auto, naive = (measured(problem, products, 1.0, **options) for products in ("auto", "naive"))
    assert not torch.equal(auto, naive)
    size = naive.abs().max()
    # 3,072 terms a sum in float32: errors of 1e-6 are rounding, 1e-4 is the promise
    assert (auto - naive).abs().max() <= 2e-5 * size


def test_small_products_and_what_does_not_move_are_left_alone() -> None:
    assert worth_it(256 * 512, (512, 512), (256, 512))
    assert not worth_it(256 * 64, (64, 64), (256, 64))
    assert not worth_it(2 * 512, (512, 512), (2, 512))  # two rows: the weights alone cost more


def test_a_value_that_was_overwritten_is_not_read() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
    problem = Problem(
        list(net.parameters()),
        [torch.randn_like(p) for p in net.parameters()],
        lambda: F.cross_entropy(net(x), y),
        None,  # pyright: ignore # fmt: skip
    )
    naive, polarised = (measured(problem, products, 1.0) for products in ("naive", "polarised"))
    assert torch.allclose(naive, polarised, rtol=1e-5)


def test_another_number_of_products_is_refused() -> None:
    with pytest.raises(ValueError, match="products must be one of auto, naive, polarised, but products='two'"):
        with curvestep.record(products="two"):  # pyright: ignore[reportArgumentType]
            pass
