"""doctor leaves the model as it found it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import curvestep
from tests.diagnostics.factories import perceptron


@pytest.fixture(params=[True, False], ids=["measured", "unmeasured"])
def measure(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_parameters_and_buffers(measure: bool) -> None:
    model, batch, loss_fn = perceptron()
    before = {name: (t, t.data_ptr(), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    curvestep.doctor(model, batch, loss_fn, measure=measure)
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (tensor, place, value) in before.items():
        assert after[name] is tensor and tensor.data_ptr() == place and torch.equal(tensor, value)


def test_gradients(measure: bool) -> None:
    model, batch, loss_fn = perceptron()
    first, *others = model.parameters()
    held = first.grad = torch.full_like(first, 3.0)
    curvestep.doctor(model, batch, loss_fn, measure=measure)
    assert first.grad is held and bool((held == 3.0).all())
    assert all(p.grad is None for p in others)


def test_random_numbers(measure: bool) -> None:
    def noisy(model: nn.Module, batch: Any) -> torch.Tensor:
        return loss_fn(model, batch) * (1 + 0.1 * random.random() + 0.1 * float(np.random.rand()))

    model, batch, loss_fn = perceptron()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)
    curvestep.doctor(model, batch, noisy, measure=measure)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert str(np.random.get_state(legacy=False)) == str(states[2])


def test_flags() -> None:
    """Also where the loss function changes the mode."""

    def meddling(model: Any, batch: Any) -> torch.Tensor:
        model.train()
        return loss_fn(model, batch)

    model, batch, loss_fn = perceptron()
    model.eval()[3].train()  # pyright: ignore[reportIndexIssue]
    flags = [module.training for module in model.modules()]
    curvestep.doctor(model, batch, meddling)
    assert [module.training for module in model.modules()] == flags
    assert all(p.requires_grad for p in model.parameters())


def test_hooks() -> None:
    model, batch, loss_fn = perceptron()
    parameter = next(model.parameters())
    model.register_forward_hook(lambda *_: None)
    model[4].register_full_backward_hook(lambda *_: None)  # pyright: ignore[reportIndexIssue]
    parameter.register_hook(lambda g: g)

    def hooks() -> list[dict[Any, Any]]:
        found = [dict(p._backward_hooks or {}) for p in model.parameters()]
        for module in model.modules():
            found += [dict(module._forward_hooks), dict(module._backward_hooks), dict(module._forward_pre_hooks)]
        return found

    before = hooks()
    curvestep.doctor(model, batch, loss_fn)
    assert hooks() == before


def test_a_buffer_that_the_forward_replaces() -> None:
    class Running(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            return self.linear(x - self.mean)

    model = Running()
    mean = model.mean
    curvestep.doctor(model, torch.randn(4, 3), lambda m, x: m(x).square().mean())
    assert model.mean is mean and not bool(mean.any())


def test_everything_is_back_after_a_refusal() -> None:
    model, batch, loss_fn = perceptron()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(curvestep.CurvestepError, match="finite"):
        curvestep.doctor(model, batch, lambda m, b: loss_fn(m, b) * float("nan"))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
