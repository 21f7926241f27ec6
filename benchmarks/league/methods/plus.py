"""ScheduleFree+: the averaged iterate of Schedule-Free with Polyak's step in the unit of Adam's direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BETA1, BETA2, BETA, EPS = 0.9, 0.95, 0.9, 1e-8


class ScheduleFreePlus:
    """z ← z − α m̂ / (√v̂ + ε) with α = η (F + β⟨g, z − x⟩)₊ / (√(π/2) ‖g‖₁), x the average, y = β x + (1 − β) z.

    x ← (1 − c) x + c z with c = a / Σ a, a the square of the largest α so far. The gradient is taken at y.

    Args:
        params: the parameters; they are y while training and x inside ``averaged``.

    Source:
        A. Defazio, arXiv 2605.19095, and its public research file, at the defaults there, without weight decay.
    """

    def __init__(self, params: Sequence[nn.Parameter]) -> None:
        self.parameters = list(params)
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": 1.0}]
        self.z = [p.detach().clone() for p in self.parameters]
        self.x = [p.detach().clone() for p in self.parameters]
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.count, self.largest, self.weights, self.alpha = 0, EPS, 0.0, 0.0

    @torch.no_grad()
    def step(self, loss: float) -> None:
        """Take one step from the loss and the gradients at y."""
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        self.count += 1
        pulled = sum(float((g * (z - x)).sum()) for g, z, x in zip(grads, self.z, self.x, strict=True))
        size = sum(float(g.abs().sum()) for g in grads) * math.sqrt(math.pi / 2.0)
        self.alpha = self.param_groups[0]["lr"] * max(0.0, loss + BETA * pulled) / max(size, 1e-30)
        self.largest = max(self.largest, self.alpha)
        weight = self.largest**2
        self.weights += weight
        share = weight / self.weights
        first, second = 1.0 - BETA1**self.count, 1.0 - BETA2**self.count
        for p, g, m, v, z, x in zip(self.parameters, grads, self.m, self.v, self.z, self.x, strict=True):
            m.lerp_(g, 1.0 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1.0 - BETA2)
            z.addcdiv_(m / first, (v / second).sqrt().add_(EPS), value=-self.alpha)
            x.lerp_(z, share)
            p.copy_(z.lerp(x, BETA))

    def exchange(self, to: Sequence[Tensor]) -> list[Tensor]:
        """Put values into the parameters and return what was there."""
        former = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, value in zip(self.parameters, to, strict=True):
                p.copy_(value)
        return former
