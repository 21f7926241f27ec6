"""The scheduler behind every schedule of ℓ: a factor of the group's first ``lr``, as a function of a count."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class LevelSchedule(LRScheduler):
    """Sets ``lr`` of every group to its first value times a factor of the number of ``step()`` calls so far.

    It differs from ``torch.optim.lr_scheduler.LambdaLR`` in that the factor is computed from the count alone, so that
    ``state_dict`` holds the whole schedule, and in that ``load_state_dict`` writes ``lr`` back: a resumed run has the
    right level at its first step, whichever of optimizer and scheduler is loaded first.

    Args:
        optimizer: Any optimizer; the groups keep the ratios of their ``lr``.
        factor: Maps a count ≥ 0 to the factor of ``lr``.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self._factor = factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Any]:
        """Return the level of every group for the present count.

        Returns:
            One number a group.
        """
        factor = self._factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the count and the groups' first levels.

        Returns:
            A dictionary of numbers and lists, loadable with ``weights_only=True``.
        """
        return {name: value for name, value in super().state_dict().items() if name != "_factor"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned and set the groups' ``lr`` to it.

        Args:
            state_dict: The dictionary, as it was or through ``torch.save`` and ``torch.load``.
        """
        super().load_state_dict(state_dict)
        for group, level in zip(self.optimizer.param_groups, self.get_last_lr(), strict=True):
            group["lr"] = level


def check_count(name: str, value: int) -> None:
    """Refuse a length that is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{name} must be a whole number of at least 1, but {name}={value!r} was given."
        raise ValueError(msg)


def check_factor(name: str, value: float) -> None:
    """Refuse a factor of the level that is not finite and above 0."""
    if not (math.isfinite(value) and value > 0.0):
        msg = f"{name} is a factor of the level and must be finite and above 0, but {name}={value!r} was given."
        raise ValueError(msg)
