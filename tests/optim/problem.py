"""A small classification problem that every optimizer test trains on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer


@dataclass
class Problem:
    """A net with two layers, smooth enough to have a curvature everywhere, and batches of eight samples."""

    net: nn.Sequential
    inputs: list[Tensor]  # five batches of (8, 5)
    targets: list[Tensor]  # five batches of (8,)

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The two layers that have parameters."""
        first, _, last = self.net
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        return first, last

    def loss(self, batch: int) -> Tensor:
        """The mean cross entropy of one batch."""
        batch %= len(self.inputs)
        return functional.cross_entropy(self.net(self.inputs[batch]), self.targets[batch])

    def closure(self, optimizer: Optimizer, batch: int) -> Callable[[], Any]:
        """The closure of one batch; it returns the loss as a tensor, which torch's annotations do not foresee."""

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(batch)
            loss.backward()
            return loss

        return closure

    def train(self, optimizer: Optimizer, batches: range) -> list[float]:
        """Take a step on each batch and return the losses."""
        losses: list[Any] = [optimizer.step(self.closure(optimizer, batch)) for batch in batches]
        return [loss.item() for loss in losses]

    def train_scaled(self, optimizer: Any, scaler: Any, batches: range) -> None:
        """Record a scaled backward on each batch and take its step by the scaler."""
        for batch in batches:
            with optimizer.record():
                scaler.scale(self.loss(batch)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    def parameters(self) -> list[Tensor]:
        """Detached copies of the parameters."""
        return [parameter.detach().clone() for parameter in self.net.parameters()]


def make_problem(dtype: torch.dtype = torch.float64, seed: int = 7) -> Problem:
    """The same problem for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    inputs = torch.randn(5, 8, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (5, 8), generator=generator)
    return Problem(net.to(dtype), list(inputs.to(dtype)), list(targets))


def assert_bitwise_equal(left: list[Tensor], right: list[Tensor]) -> None:
    """Fail unless two lists of tensors are the same bit for bit."""
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        assert torch.equal(a, b), f"tensor {index} differs by {(a - b).abs().max()}"


def assert_close(left: list[Tensor], right: list[Tensor], relative: float) -> None:
    """Fail unless two lists of tensors agree relative to the largest entry."""
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        error = float((a - b).abs().max() / b.abs().max())
        assert error <= relative, f"tensor {index}: relative error {error:.2e}, allowed {relative:.0e}"
