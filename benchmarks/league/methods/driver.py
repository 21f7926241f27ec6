"""What the league asks of a method: to record if it wants, to step, to show the weights that count."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Driver:
    """A torch optimizer as the league runs it; others override what differs.

    Args:
        optimizer: the optimizer.
        factor: the factor of its learning rates at step k (from 0), or None for 1.
    """

    def __init__(self, optimizer: Any, factor: Callable[[int], float] | None = None) -> None:
        self.optimizer, self.factor, self.steps = optimizer, factor, 0
        self.rates = [group["lr"] for group in optimizer.param_groups] if factor is not None else []

    def record(self) -> AbstractContextManager[Any]:
        """Return the context around forward and backward."""
        return nullcontext()

    def step(self, loss: Tensor) -> None:
        """Take the step after a backward pass."""
        if self.factor is not None:
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * self.factor(self.steps)
        self.steps += 1
        self.advance(loss)

    def advance(self, loss: Tensor) -> None:
        """Call the optimizer."""
        del loss
        self.optimizer.step()

    def averaged(self) -> AbstractContextManager[Any]:
        """Return the context in which the model has the weights to evaluate."""
        return nullcontext()

    def report(self) -> dict[str, float]:
        """Return numbers worth keeping of the run."""
        return {}


@dataclass(frozen=True)
class Method:
    """One row of the table of methods.

    Args:
        name: its name on the command line and in the store.
        build: makes a driver from the model and the number of steps of the run; only a method with a known horizon
            reads the latter.
        what: one line for the reader.
        horizon: whether it is told the number of steps.
    """

    name: str
    build: Callable[[nn.Module, int], Driver]
    what: str
    horizon: bool = False


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def cosine(steps: int, warmup: float = 0.05) -> Callable[[int], float]:
    """Return a linear warm-up over a share of the run, then a cosine to zero."""
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * (step - rise) / max(1, steps - rise))).item()

    return factor


def warmup(steps: int, share: float = 0.05) -> Callable[[int], float]:
    """Return a linear warm-up over a share of the run, then 1."""
    rise = max(1, round(share * steps))
    return lambda step: min(1.0, (step + 1) / rise)
