"""EGDD, line by line, for a list of tensors in float64; ``scope="global"`` joins them for the scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def train(
    thetas: Sequence[Tensor],
    gradients_of: Callable[[list[Tensor], int], list[Tensor]],
    steps: int,
    eta: float,
    mu: float,
    *,
    beta: float = 0.9,
    gamma_p: float = 0.01,
    gamma_s: float = 0.001,
    signs: bool = True,
    directions: bool = True,
    joined: bool = False,
) -> tuple[list[list[Tensor]], list[Tensor], list[float]]:
    """Return the parameters after every step, the last gains and the last scales."""
    thetas = [theta.detach().clone() for theta in thetas]
    p, s = [torch.ones_like(t) for t in thetas], [1.0 for _ in thetas]
    m, u = [torch.zeros_like(t) for t in thetas], [torch.zeros_like(t) for t in thetas]
    trajectory = []
    for k in range(1, steps + 1):
        gradients = gradients_of(thetas, k - 1)

        def product(pairs: list[tuple[Tensor, Tensor]]) -> float:
            g, old = (torch.cat([pair[i].reshape(-1) for pair in pairs]) for i in (0, 1))
            if directions:
                g, old = g / (g.norm() + 1e-10), old / (old.norm() + 1e-10)
            return float(g.dot(old))

        together = list(zip(gradients, u, strict=True))
        for i, g in enumerate(gradients):
            s[i] *= math.exp(gamma_s * product(together if joined else [together[i]]))
            s[i] = min(max(s[i], 0.1), 10.0)
            corrected = m[i] / (1 - beta ** max(k - 1, 1))
            exponent = g.sign() * m[i].sign() if signs else g * corrected
            p[i] = (p[i] * (gamma_p * exponent).exp()).clamp(0.01, 100.0)
        for i, g in enumerate(gradients):
            u[i] = mu * u[i] + eta * p[i] * g
            m[i] = beta * m[i] + (1 - beta) * g
            thetas[i] = thetas[i] - s[i] * u[i]
        trajectory.append([theta.clone() for theta in thetas])
    return trajectory, p, s
