"""Rules that a third party registers: for operations of torch.library and for autograd functions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep


class Swish(torch.autograd.Function):
    """x·σ(βx) with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.beta = beta
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        p = torch.sigmoid(ctx.beta * x)
        return grad * (p + ctx.beta * x * p * (1 - p)), None


def formula(x: Tensor, beta: float) -> Tensor:
    return x * torch.sigmoid(beta * x)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    curvestep.register_rule(Swish, formula, samples="elementwise")


def _net() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    first, last = nn.Linear(7, 9).double(), nn.Linear(9, 5).double()
    return first, last, torch.randn(6, 7, dtype=torch.float64), torch.randint(0, 5, (6,))


def test_a_registered_autograd_function_is_exact_in_every_pass() -> None:
    first, last, x, y = _net()
    params = [*first.parameters(), *last.parameters()]
    direction = [torch.randn_like(p) for p in params]
    with curvestep.record() as tape:
        F.cross_entropy(last(Swish.apply(first(x), 1.5) ** 2), y).backward()
    found = tape.curvature(params, direction)

    def rows() -> Tensor:
        return F.cross_entropy(last(formula(first(x), 1.5) ** 2), y, reduction="none")

    truth = []
    for row in rows():
        grads = torch.autograd.grad(row, params, create_graph=True)
        slope = sum((g * d).sum() for g, d in zip(grads, direction, strict=True))
        again = torch.autograd.grad(slope, params, retain_graph=True)  # type: ignore[arg-type]
        truth.append(sum((h * d).sum() for h, d in zip(again, direction, strict=True)))
    expected = torch.stack(truth)  # type: ignore[arg-type]
    assert found.per_sample is not None and found.per_sample_exact
    # float64 rounding over some tens of operations
    torch.testing.assert_close(found.per_sample, expected, rtol=1e-11, atol=1e-12)
    product = tape.hvp(params, direction)
    quadratic = torch.stack([(h * d).sum() for h, d in zip(product, direction, strict=True)]).sum()
    assert quadratic.item() == pytest.approx(expected.mean().item(), rel=1e-11)
    assert tape.loss_along(params, direction, [0.0])[0].item() == pytest.approx(tape.loss.item(), rel=1e-14)


def test_outside_of_a_recording_it_is_as_it_was() -> None:
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: Swish.apply(t, 0.7), (x,))


def test_a_second_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="Swish is registered already"):
        curvestep.register_rule(Swish, formula)


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.library"):
        curvestep.register_rule(formula, formula)
