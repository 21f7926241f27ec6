"""RED: a level that falls from 1 to ½ over the epochs of a run."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from curvestep.schedules._level import LevelSchedule, check_count
from curvestep.schedules.exponential import Geometric


def red(optimizer: Optimizer, epochs: int) -> LRScheduler:
    """Let ℓ fall from 1 to ½ by the same factor at the end of every epoch (rescaled exponential decay).

    ℓ ← (½)^(1/N) ℓ at the end of each of N epochs, so that ℓ = lr · (½)^(n/N) in epoch n = 0, …, N−1, and lr/2 from
    epoch N on; ``lr`` is what the group was made with, 1 unless given.

    Args:
        optimizer: The optimizer; groups keep the ratios of their ``lr``.
        epochs: N, at least 1. Call ``scheduler.step()`` once at the end of each.

    Returns:
        A ``torch.optim.lr_scheduler.LRScheduler``.

    Raises:
        ValueError: ``epochs`` is not a whole number of at least 1.

    Cost:
        A few operations on floats an epoch.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = red(optimizer, epochs=1)
        >>> optimizer.step(); scheduler.step(); optimizer.param_groups[0]["lr"]
        0.5

    Source:
        de Gournay and Gossard (2022), Algorithm 3, lines 2 and 13.

    Deviations:
        None for the N epochs; after them ℓ stays at ½, of which the source says nothing.
    """
    check_count("epochs", epochs)
    return LevelSchedule(optimizer, Geometric(epochs, 1.0, 0.5))
