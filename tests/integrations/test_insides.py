"""What people put into or around a model: the steps are those of the same function without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

import curvestep
from curvestep._records import Outcome
from tests.integrations.loops import METHODS, Make
from tests.optim.problem import assert_bitwise_equal, assert_close, make_problem

STEPS = 8
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
Then = Callable[[], None]


def nothing() -> None:
    """What is done after a step of the bare net."""


def train(
    net: nn.Module, make: Make, then: Then = nothing, called: Callable[..., Tensor] | None = None, steps: int = STEPS
) -> Any:
    """Train attached, through another callable where one is given; the parameters in order of their names."""
    problem = make_problem()
    optimizer = make([p for p in net.parameters() if p.requires_grad])
    forward: Any = called or net
    curvestep.attach(forward, optimizer)
    for batch in range(steps):
        which = batch % len(problem.inputs)
        functional.cross_entropy(forward(problem.inputs[which]), problem.targets[which]).backward()
        optimizer.step()
        optimizer.zero_grad()
        then()
    return optimizer


def parameters(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters() if p.requires_grad]


def bare(make: Make, steps: int = STEPS) -> list[Tensor]:
    net = make_problem().net
    train(net, make, steps=steps)
    return parameters(net)


@every_method
def test_averages_of_weights_beside_the_training(make: Make) -> None:
    """``swa_utils`` and a deep copy that follows by ``lerp``, looked at in training mode too."""
    net = make_problem().net
    swa = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    followed = copy.deepcopy(net)
    inputs = make_problem().inputs[0]

    def follow() -> None:
        swa.update_parameters(net)
        with torch.no_grad():
            for average, parameter in zip(followed.parameters(), net.parameters(), strict=True):
                average.lerp_(parameter, 0.1) if swa.n_averaged > 1 else average.copy_(parameter)
        swa(inputs)

    train(net, make, follow)
    assert_bitwise_equal(parameters(net), bare(make))
    assert_close(parameters(swa), parameters(followed), 1e-12)


class Adapted(nn.Module):
    """W + B A, as LoRA has it, with W frozen as a parameter or kept as a buffer."""

    def __init__(self, layer: nn.Linear, *, freezes: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        if freezes:
            self.weight: Any = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        else:
            self.register_buffer("weight", layer.weight.detach().clone())
        rows, columns = layer.weight.shape
        self.down = nn.Parameter(torch.randn(2, columns, generator=generator, dtype=torch.float64))
        self.up = nn.Parameter(torch.randn(rows, 2, generator=generator, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight.mT + inputs @ self.down.mT @ self.up.mT


@every_method
def test_a_frozen_model_with_adapters(make: Make) -> None:
    found = []
    for freezes in (True, False):
        first, last = make_problem().layers
        net = nn.Sequential(Adapted(first, freezes=freezes), nn.Tanh(), Adapted(last, freezes=freezes))
        frozen = [p.clone() for p in net.parameters() if not p.requires_grad]
        train(net, make)
        found.append(parameters(net))
        assert_bitwise_equal([p for p in net.parameters() if not p.requires_grad], frozen)
    assert_bitwise_equal(found[0], found[1])


class ByHand(nn.Module):
    """g v / ‖v‖ row by row."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = layer.bias
        self.g = nn.Parameter(layer.weight.detach().norm(dim=1, keepdim=True))
        self.v = nn.Parameter(layer.weight.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.g * self.v / self.v.norm(dim=1, keepdim=True), self.bias)


@every_method
def test_a_parametrization(make: Make) -> None:
    first, last = make_problem().layers
    by_hand = nn.Sequential(ByHand(first), nn.Tanh(), ByHand(last))
    train(by_hand, make)
    net = make_problem().net
    for layer in (net[0], net[2]):
        weight_norm(layer)
        assert parametrize.is_parametrized(layer)
    train(net, make)
    assert_close(parameters(net), parameters(by_hand), 1e-9)


class Checkpointed(nn.Module):
    """Runs its layers again in backward."""

    def __init__(self, net: nn.Module, *, reenters: bool) -> None:
        super().__init__()
        self.net, self.reenters = net, reenters

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.detach().requires_grad_(self.reenters)  # what the reentrant kind needs for any gradient at all
        return checkpoint(self.net, inputs, use_reentrant=self.reenters)  # pyright: ignore[reportReturnType]


@every_method
@pytest.mark.parametrize("reenters", [False, True])
def test_activation_checkpointing(make: Make, reenters: bool) -> None:
    net = make_problem().net
    train(Checkpointed(net, reenters=reenters), make)
    assert_close(parameters(net), bare(make), 1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # dynamo's
def test_a_compiled_model() -> None:
    """Recorded batches run its operations one by one; the steps between two measurements run what was compiled."""
    runs: list[bool] = []

    def backend(graph: Any, inputs: Any) -> Any:
        del inputs
        return lambda *args: (runs.append(True), graph.forward(*args))[1]

    net, make, steps = make_problem().net, METHODS["Auto"], 40
    optimizer = train(net, make, called=torch.compile(net, backend=backend), steps=steps)
    assert_close(parameters(net), bare(make, steps), 1e-12)
    measured = int(optimizer.param_groups[0]["measurements"])
    ends = optimizer.outcomes[Outcome.WINDOW_ENDED]
    assert 0 < measured < steps and ends > 1 and len(runs) == steps - measured - ends
