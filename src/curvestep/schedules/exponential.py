"""A level that falls geometrically at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from curvestep.schedules._level import LevelSchedule, check_count, check_factor


@final
@dataclass(frozen=True)
class Geometric:
    """start · (end / start)^(k / length) for k up to ``length``, and ``end`` from there on."""

    length: int
    start: float
    end: float

    def __call__(self, count: int) -> float:
        """Return the factor at a count."""
        if count >= self.length:
            return self.end
        return self.start * (self.end / self.start) ** (count / self.length)


def exponential(optimizer: Optimizer, steps: int, start: float = 1.0, end: float = 0.05) -> LRScheduler:
    """Let ℓ fall from ``start`` to ``end`` by the same factor at every step.

    ℓ_k = lr · start · (end / start)^(k / steps) after k calls of ``scheduler.step()``, and lr · end from k = steps on;
    ``lr`` is what the group was made with, 1 unless given.

    Args:
        optimizer: The optimizer; groups keep the ratios of their ``lr``.
        steps: Number of optimizer steps, at least 1. Call ``scheduler.step()`` once after each.
        start: First factor, above 0.
        end: Last factor, above 0.

    Returns:
        A ``torch.optim.lr_scheduler.LRScheduler``.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A power of two floats a step.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = exponential(optimizer, steps=2, start=1.0, end=0.25)
        >>> levels = []
        >>> for _ in range(4):
        ...     levels.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> levels
        [1.0, 0.5, 0.25, 0.25]

    Source:
        de Gournay and Gossard (2022), Algorithm 3, line 13, at every step instead of at every epoch.

    Deviations:
        The end of 0.05 instead of ½ is for Adam's direction, for which ½ is not low enough to converge.
    """
    check_count("steps", steps)
    check_factor("start", start)
    check_factor("end", end)
    return LevelSchedule(optimizer, Geometric(steps, float(start), float(end)))
