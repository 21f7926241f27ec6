"""A level that falls along a straight line at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from curvestep.schedules._level import LevelSchedule, check_count, check_factor


@final
@dataclass(frozen=True)
class Line:
    """start + (end − start) · k / length for k up to ``length``, and ``end`` from there on."""

    length: int
    start: float
    end: float

    def __call__(self, count: int) -> float:
        """Return the factor at a count."""
        return self.start + (self.end - self.start) * min(count / self.length, 1.0)


def linear(optimizer: Optimizer, steps: int, start: float = 1.0, end: float = 0.05) -> LRScheduler:
    """Let ℓ fall from ``start`` to ``end`` by the same amount at every step.

    ℓ_k = lr · (start + (end − start) · k / steps) after k calls of ``scheduler.step()``, and lr · end from
    k = steps on; ``lr`` is what the group was made with, 1 unless given.

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
        A few operations on floats a step.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = linear(optimizer, steps=2, start=1.0, end=0.5)
        >>> levels = []
        >>> for _ in range(4):
        ...     levels.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> levels
        [1.0, 0.75, 0.5, 0.5]

    Source:
        None; the source lets ℓ fall geometrically, see `curvestep.schedules.exponential`.

    Deviations:
        The end of 0.05 instead of ½ is for directions with momentum, which converge at lower levels. On a small GPT a
        geometric fall failed with one seed of three, a line with none (`docs/benchmarks.md`).
    """
    check_count("steps", steps)
    check_factor("start", start)
    check_factor("end", end)
    return LevelSchedule(optimizer, Line(steps, float(start), float(end)))
