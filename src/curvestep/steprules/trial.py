"""Whether the first steps of a run were far too long, told by losses on a batch that had no part in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Trial:
    """Where the weights want a scale that the first parabola contradicts, the first steps are a trial.

    They are where s₀ > beyond · b, b the step to the minimum of the parabola along the first direction
    (`NoiseBalance`). x₀ is where the run began and θ where it is after ``steps`` steps. The next batch is asked for two
    losses, at θ and a ``share`` of the way to it. The steps were too long where

        J(x₀ + share · (θ − x₀)) < J(θ) − worse · |J(x₀ + share · (θ − x₀))|,    or J(θ) alone is not finite:

    a tenth of the way was better than all of it. At the end of the first window they were where its average lies above
    x₀ by as much, or its noise costs more than the average wins per e-fold of the run, N > p. The run then begins again
    at x₀ with s₀ = back · b, once. Where neither holds the run is, bit for bit, one without a trial.

    | symbol | name |
    |---|---|
    | beyond, steps, share, worse, back | `beyond`, `steps`, `share`, `worse`, `back` |

    Args:
        beyond: how many times b the first scale is where it is on trial, above 0; infinite for no trial.
        steps: how many steps are on trial, at least 1.
        share: the part of the way that is compared with all of it, in (0, 1].
        worse: by which part of itself a loss must be above the other, at least 0: the noise of a batch.
        back: the scale with which the run begins again in units of b, above 0 and at most ``beyond``.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        One recording and one forward a trial.

    Example:
        J = ½ θ²: ten steps went from 3 to −4, and a tenth of the way ends at 2.3.

        >>> trial = Trial()
        >>> trial.is_too_long(0.5 * 2.3**2, 0.5 * 4.0**2), trial.is_too_long(0.5 * 2.7**2, 0.0)
        (True, False)

    Source:
        None; benchmarks/league/NOTES.md has what the losses along the first ten steps are on 78 problems.
    """

    beyond: float = 6.0
    steps: int = 10
    share: float = 0.1
    worse: float = 0.005
    back: float = 0.1

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        if not (isinstance(self.steps, int) and not isinstance(self.steps, bool) and self.steps >= 1):
            raise ValueError(f"steps must be a whole number of at least 1, but steps={self.steps!r} was given.")
        if not (_is_number(self.share) and 0.0 < self.share <= 1.0):
            raise ValueError(f"share must be a number in (0, 1], but share={self.share!r} was given.")
        if not (_is_number(self.worse) and self.worse >= 0.0):
            raise ValueError(f"worse must be a number of at least 0, but worse={self.worse!r} was given.")
        if not (_is_number(self.beyond) and self.beyond > 0.0):
            raise ValueError(f"beyond must be a number above 0, but beyond={self.beyond!r} was given.")
        if not (_is_number(self.back) and 0.0 < self.back <= self.beyond):
            raise ValueError(f"back must be a number in (0, {self.beyond:g}], but back={self.back!r} was given.")

    def is_on(self, first: float, bound: float) -> bool:
        """Whether a first scale is on trial.

        Args:
            first: s₀.
            bound: b; 0 where it is not known.

        Returns:
            Whether it is.
        """
        return first > self.beyond * bound > 0.0

    def is_too_long(self, nearer: float, there: float) -> bool:
        """Whether the loss ``there`` is certainly above the one ``nearer`` to where the run began.

        Args:
            nearer: a loss; where it is not finite nothing can be told.
            there: a loss of the same batch.

        Returns:
            Whether it is.
        """
        if not math.isfinite(nearer):
            return False
        return not math.isfinite(there) or nearer < there - self.worse * abs(nearer)


def _is_number(value: object) -> bool:
    """Whether an argument is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
