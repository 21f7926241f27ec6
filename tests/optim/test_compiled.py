"""The compiled step against the step with a closure: the same losses, parameters, buffers, records and states."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import curvestep
from curvestep.optim import AbstractCurvestepOptimizer

# Plain sums over a few hundred products in float64; the graph may order them differently, and twenty steps add up.
CLOSE = 1e-12

Make = Callable[[Any], AbstractCurvestepOptimizer]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Attention(nn.Module):
    """A small transformer over sequences of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu")
        self.outer = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(self.block(self.inner(inputs)).mean(1))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Softplus(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (dense, (6,)),
    "convolutional": (convolutional, (3, 6, 6)),
    "attention": (Attention, (4, 5)),
}


@dataclass
class Pair:
    """The same net twice, with an optimizer each: one steps by closures, the other compiled."""

    nets: tuple[nn.Module, nn.Module]
    optimizers: tuple[AbstractCurvestepOptimizer, AbstractCurvestepOptimizer]
    step: curvestep.optim.compiled.CompiledStep
    shape: tuple[int, ...]

    def batch(self, seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        dtype = next(self.nets[0].parameters()).dtype
        inputs = torch.randn(size, *self.shape, generator=generator, dtype=dtype)
        return inputs, torch.randint(0, 3, (size,), generator=generator)

    def both(self, seed: int, size: int = 8) -> None:
        """Take one step with each and compare what they say."""
        inputs, targets = self.batch(seed, size)
        plain, compiled = self.optimizers

        def closure() -> Any:
            plain.zero_grad()
            loss = functional.cross_entropy(self.nets[0](inputs), targets)
            loss.backward()
            return loss

        expected, found = plain.step(closure), self.step(inputs, targets)
        torch.testing.assert_close(found, expected.detach(), rtol=CLOSE, atol=CLOSE)
        assert plain.last_step is not None and compiled.last_step is not None
        assert compiled.last_step.outcome is plain.last_step.outcome
        assert compiled.last_step.step == plain.last_step.step

    def compare(self, tolerance: float = CLOSE) -> None:
        """Parameters, buffers and the optimizers' states are the same."""
        torch.testing.assert_close(
            self.nets[1].state_dict(), self.nets[0].state_dict(), rtol=tolerance, atol=tolerance
        )
        plain, compiled = (optimizer.state_dict() for optimizer in self.optimizers)
        assert compiled["state"].keys() == plain["state"].keys()
        for index, state in plain["state"].items():
            torch.testing.assert_close(compiled["state"][index], state, rtol=tolerance, atol=tolerance)
        assert [g["steps"] for g in compiled["param_groups"]] == [g["steps"] for g in plain["param_groups"]]
        for one, other in zip(compiled["param_groups"], plain["param_groups"], strict=True):
            assert one["rule_state"] == pytest.approx(other["rule_state"], rel=max(tolerance, 1e-9))
            assert one["effective_lr"] == pytest.approx(other["effective_lr"], rel=max(tolerance, 1e-9))


def pair(net: str, make: Make, backend: str = "eager", options: dict[str, Any] | None = None) -> Pair:
    build, shape = NETS[net]
    torch.manual_seed(0)
    one = build().double()
    other = copy.deepcopy(one)
    optimizers = make(one.parameters()), make(other.parameters())
    step = optimizers[1].compile(
        lambda inputs, targets: functional.cross_entropy(other(inputs), targets), backend=backend, options=options
    )
    return Pair((one, other), optimizers, step, shape)


def quiet() -> Any:
    """Samples mix in batch normalisation; both kinds of step say so."""
    return warnings.catch_warnings(action="ignore") if False else _quiet()


class _quiet(warnings.catch_warnings):
    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.filterwarnings("ignore", "The curvature of")
        return entered


@pytest.mark.parametrize("net", NETS)
def test_twenty_steps_are_those_of_the_closure(net: str) -> None:
    found = pair(net, lambda params: curvestep.RescaledSGD(params, lr=0.5))
    with quiet():
        for seed in range(20):
            found.both(seed)
    found.compare()
    assert found.step.compilations == 1 and found.step.fallback is None
