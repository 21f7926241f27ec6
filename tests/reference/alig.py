"""ALI-G of Berrada, Zisserman and Kumar (2020), step by step, on one flat vector in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor


def train(
    theta: Tensor,
    loss: Callable[[Tensor, int], Tensor],
    steps: int,
    *,
    cap: float | None = None,
    momentum: float = 0.0,
    form: Literal["standard", "adjusted"] = "standard",
    radius: float | None = None,
    eps: float = 1e-5,
) -> list[Tensor]:
    """Return θ after every step; ``loss(θ, k)`` is that of batch k."""

    def project(point: Tensor) -> Tensor:
        norm = float(point.norm())
        return point * (radius / norm) if radius is not None and norm > radius else point

    theta = project(theta.detach())
    velocity = torch.zeros_like(theta)
    trajectory = []
    for k in range(steps):
        theta = theta.clone().requires_grad_()
        value = loss(theta, k)
        (g,) = torch.autograd.grad(value, theta)
        theta = theta.detach()
        gamma = float(value.detach()) / (float(g.dot(g)) + eps)
        if cap is not None:
            gamma = min(gamma, cap)
        theta = theta - gamma * g
        if form == "standard":
            velocity = momentum * velocity - gamma * g
            theta = theta + momentum * velocity
        else:
            velocity = momentum * velocity - g
            theta = theta + gamma * momentum * velocity
        theta = project(theta)
        trajectory.append(theta)
    return trajectory
