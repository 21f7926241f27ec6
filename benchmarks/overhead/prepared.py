"""A variant that is ready to step on a network, and the curvature that it measures there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor


class NotApplicable(Exception):
    """A variant cannot be taken on a network; the message says why."""


@final
@dataclass(frozen=True)
class Measured:
    """A curvature along a direction.

    Args:
        total: of the batch, or of the samples that were measured.
        per_sample: of each sample that was measured, float64 on the host; None where they are not told apart.
        indices: which ones these are; None for the first ones.
    """

    total: float
    per_sample: Tensor | None = None
    indices: tuple[int, ...] | None = None


@final
@dataclass(frozen=True)
class Prepared:
    """A variant on a network.

    Args:
        step: forward, backward, measurement and update.
        period: after how many steps the cost repeats; so many are timed together where `measured` is None.
        measured: the one step of a period that measures, where it can be asked for; `step` is each of the others.
        warmup: steps, of both kinds, after which the cost repeats; two see what is made at first, and found again.
        curvature: what it measures along a direction at the present parameters; None where it gives no curvature. A
            variant that measures along its own gradient alone leaves the direction aside, which differs by rounding.
        is_compiled: whether the first steps compile.
    """

    step: Callable[[], None]
    period: int = 1
    measured: Callable[[], None] | None = None
    warmup: int = 2
    curvature: Callable[[Sequence[Tensor]], Measured] | None = None
    is_compiled: bool = False
