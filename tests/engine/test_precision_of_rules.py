"""Every operation and every network of the databases in other dtypes than it was recorded in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import curvestep
from curvestep.engine import Curvature
from curvestep.testing import Constant, Problem
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph
from tests.engine.ops import ROWS, Row

SINGLE = {torch.float64: torch.float32, torch.complex128: torch.complex64}


def loss_of(row: Row, inputs: list[Any]) -> Tensor:
    """A bent function of everything that the operation returns."""
    torch.manual_seed(0)
    found = row.function(*[t * 1.0 if isinstance(t, Tensor) and t.requires_grad else t for t in inputs])
    total = torch.zeros(())
    for out in found if isinstance(found, (tuple, list)) else (found,):
        if isinstance(out, Tensor) and out.requires_grad:
            real = torch.view_as_real(out) if out.is_complex() else out
            total = total + real.square().mean() + real.mean()
    return total


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_operation_of_float32_works_in_every_dtype(row: Row) -> None:
    params: list[Tensor] = []

    def single(drawn: Any) -> Any:
        """As drawn, in half the bits; what moves is a parameter."""
        held = drawn.tensor if isinstance(drawn, Constant) else drawn
        if not isinstance(held, Tensor):
            return held
        held = held.to(SINGLE.get(held.dtype, held.dtype))
        if isinstance(drawn, Tensor) and held.is_floating_point():
            params.append(held.clone().requires_grad_())
            return params[-1]
        return held

    inputs = [single(drawn) for drawn in row.drawn()]
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator) for p in params]
    with curvestep.record() as tape:
        loss_of(row, inputs).backward()
    exact, recorded, short, brain = (
        tape.curvature(params, direction, precision=precision).total
        for precision in ("float64", "recorded", "float32", "bfloat16")
    )
    assert exact.dtype == torch.float64
    assert torch.equal(recorded, short)
    # bfloat16 was off by up to 3 % of q (one of 738 rows above 1 %); terms that cancel in q leave 1e-4 of their own.
    assert (brain - exact).abs() <= 0.1 * exact.abs() + 1e-3


def measure(problem: Problem, cast: bool, *precisions: Any) -> list[Curvature]:
    """The curvature of one recording in several precisions."""
    with curvestep.record() as tape:
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            loss = problem.loss()
        loss.backward()
    return [tape.curvature(problem.params, problem.direction, precision=precision) for precision in precisions]


@pytest.mark.parametrize("cast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("graph", GRAPHS + TASK_GRAPHS, ids=lambda graph: graph.name)
def test_a_network_works_in_every_dtype(graph: Graph, cast: bool) -> None:
    if cast and graph.name == "two inputs":
        cast = False  # torch itself refuses a bilinear layer under autocast
    precisions = ("float64", "float32", "recorded", "bfloat16")
    exact, *found = (q.per_sample for q in measure(graph.problem(torch.float32), cast, *precisions))
    assert exact is not None and all(each is not None for each in found)
    errors = [float((each - exact).abs().max() / exact.abs().max()) for each in found if each is not None]
    # Float32: the promise of the benchmark of precision; 1e-6 was found. 16 bits: 3 % was the most in float32
    # recordings and 5 % under autocast, both in deep convolutional nets of a few channels.
    assert errors[0] <= 1e-4
    assert max(errors[1:]) <= 0.1
