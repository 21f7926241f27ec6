"""RAn: a level that explores, converges and climbs out again, period after period."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from curvestep.schedules._level import LevelSchedule

#: The phases of one period: how many epochs, at which level.
PHASES = ((5, 1.0), (13, 0.5), (2, 2.0))


def ran(optimizer: Optimizer) -> LRScheduler:
    """Set ℓ to 1 for 5 epochs, to ½ for 13 and to 2 for 2, and begin again (rescaled annealing).

    The levels are factors of the ``lr`` that the group was made with, 1 unless given.

    Args:
        optimizer: The optimizer; groups keep the ratios of their ``lr``. Call ``scheduler.step()`` at the end of each
            epoch.

    Returns:
        A ``torch.optim.lr_scheduler.LRScheduler``.

    Cost:
        A few operations on floats an epoch.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler, levels = ran(optimizer), []
        >>> for _ in range(21):
        ...     levels.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> [levels.count(level) for level in (1.0, 0.5, 2.0)], levels[-1]
        ([6, 13, 2], 1.0)

    Source:
        de Gournay and Gossard (2022), section 4.2.

    Deviations:
        None.
    """
    return LevelSchedule(optimizer, _phase_level)


def _phase_level(epoch: int) -> float:
    """Return the level of an epoch, counted from 0."""
    place = epoch % sum(length for length, _ in PHASES)
    for length, level in PHASES:
        if place < length:
            return level
        place -= length
    raise AssertionError(place)  # the lengths add up to the period
