"""Step-Tuned SGD of Castera, Bolte, Févotte and Pauwels (2022), line by line, on one flat vector in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def train(
    theta: Tensor,
    loss: Callable[[Tensor, int], Tensor],
    steps: int,
    alpha: float,
    *,
    l2: float = 0.0,
    nu: float = 2.0,
    beta: float = 0.9,
    low: float = 0.5,
    high: float = 2.0,
    delta: float = 0.001,
) -> tuple[list[Tensor], list[float]]:
    """Return θ after every step and γ before it; ``loss(θ, k)`` is that of batch k, without the L2 term."""

    def gradient(point: Tensor, k: int) -> Tensor:
        point = point.detach().requires_grad_()
        return torch.autograd.grad(loss(point, k) + l2 / 2 * point.dot(point), point)[0]

    gamma, average = 1.0, torch.zeros_like(theta)
    trajectory, gammas = [], []
    for k in range(steps):
        gammas.append(gamma)
        tau = alpha * gamma / (k + 1) ** (0.5 + delta)
        first = gradient(theta, k)
        half = theta - tau * first
        second = gradient(half, k)
        change_theta, change_g = half - theta, second - first
        theta = half - tau * second
        average = beta * average + (1 - beta) * change_g
        product = float((average / (1 - beta ** (k + 1))).dot(change_theta))
        gamma = float(change_theta.dot(change_theta)) / product if product > 0 else nu
        gamma = min(max(gamma, low), high)
        trajectory.append(theta)
    return trajectory, gammas
