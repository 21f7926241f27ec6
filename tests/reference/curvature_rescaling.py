"""Algorithms 1, 3 and 4 of de Gournay and Gossard (2022), line by line, on one flat vector in float64.

Nothing is shared with the library: gradients and curvatures are taken one sample at a time by double backward, and the
state is a handful of local variables. The only departure from the printed text is the constant in line 7 of
Algorithm 1, 2 in place of ½; the exact tests show which of the two the source's own statements ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

#: Maps θ and a batch to the vector of the samples' losses, without the L2 term.
SampleLosses = Callable[[Tensor, object], Tensor]


def train(
    theta: Tensor,
    sample_losses: SampleLosses,
    batches: Iterable[object],
    levels: Iterable[float],
    form: Literal["sgd", "rmsprop", "adam", "momentum"],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    beta3: float = 0.9,
    eps: float = 1e-8,
    l2: float = 0.0,
) -> list[Tensor]:
    """Return θ after every step."""
    theta = theta.detach()
    average_g = torch.zeros_like(theta)  # ĝ_0
    average_g2 = torch.zeros_like(theta)  # v̂_0
    average_c = 0.0  # ĉ_0
    trajectory = []
    for k, (batch, ell) in enumerate(zip(batches, levels, strict=True), start=1):
        theta = theta.clone().requires_grad_()
        penalty = l2 / 2 * theta.dot(theta)
        losses = [loss + penalty for loss in sample_losses(theta, batch)]  # J_s
        gradients = [torch.autograd.grad(loss, theta, create_graph=True)[0] for loss in losses]
        g = torch.stack([gradient.detach() for gradient in gradients]).mean(dim=0)

        direction = g  # Algorithm 3, line 8
        if form in ("adam", "momentum"):  # Algorithm 4, line 4
            average_g = beta1 * average_g + (1 - beta1) * g
            direction = average_g / (1 - beta1**k)
        if form in ("adam", "rmsprop"):  # Algorithm 3, line 6
            average_g2 = beta2 * average_g2 + (1 - beta2) * g**2
            direction = direction / ((average_g2 / (1 - beta2**k)).sqrt() + eps)

        curvatures = []  # Algorithm 1, line 4
        for gradient in gradients:
            (product,) = torch.autograd.grad(gradient.dot(direction), theta, retain_graph=True)
            curvatures.append(product.dot(direction).abs())
        c = float(torch.stack(curvatures).mean() / direction.dot(direction))
        average_c = beta3 * average_c + (1 - beta3) * c  # line 5
        lipschitz = max(average_c / (1 - beta3**k), c)  # lines 5 and 6
        slope = float(direction.dot(g))
        if form in ("adam", "momentum"):  # Appendix C.1, "Step choice"
            slope = abs(slope)
        r = 2 * slope / (float(direction.dot(direction)) * lipschitz)  # line 7
        theta = theta.detach() - ell * r * direction  # Algorithm 3, line 12
        trajectory.append(theta)
    return trajectory
