"""A polynomial-decay average of parameters, kept beside any optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """x̄ ← (1 − w) x̄ + w x with w = (γ + 1) / (k + γ) at step k, as Ivgi, Hinder and Carmon recommend with γ = 8."""

    def __init__(self, params: Sequence[nn.Parameter], gamma: float = 8.0) -> None:
        self.parameters, self.gamma, self.count = list(params), gamma, 0
        self.values: list[Tensor] = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def advance(self) -> None:
        """Absorb the parameters."""
        self.count += 1
        weight = (self.gamma + 1.0) / (self.count + self.gamma)
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], weight)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Put the average into the parameters for the time of the block."""
        own = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, value in zip(self.parameters, self.values, strict=True):
                p.copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, former in zip(self.parameters, own, strict=True):
                    p.copy_(former)
