"""Models to examine, by the command line too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Made = tuple[nn.Module, Any, Callable[[nn.Module, Any], Tensor]]


class Point(nn.Module):
    """θ alone."""

    def __init__(self, first: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(first)


class Opaque(torch.autograd.Function):
    """exp ∘ sin by numpy, with its own backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = torch.from_numpy(np.exp(np.sin(x.detach().numpy())))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y = ctx.saved_tensors
        return x.cos() * y * grad


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def perceptron() -> Made:
    """Two layers with batch norm, a kink and dropout."""
    torch.manual_seed(0)
    layers = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 3)
    return nn.Sequential(*layers), (torch.randn(8, 6), torch.randint(3, (8,))), cross_entropy


def uncovered() -> Made:
    """The same with a function that a recording cannot see into."""
    model, batch, _ = perceptron()
    return model, batch, lambda model, batch: F.cross_entropy(Opaque.apply(model(batch[0])), batch[1])


def broken() -> Made:
    """Raises."""
    raise OSError("the data are not there")


def pair() -> Any:
    """Returns two things."""
    return perceptron()[:2]


def mismatch() -> Made:
    """The batch does not fit the model."""
    model, _, loss = perceptron()
    return model, (torch.randn(8, 7), torch.randint(3, (8,))), loss


NUMBER = 3
