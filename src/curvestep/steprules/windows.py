"""Windows of steps that grow with the run, and the contract of a step rule that is told what a window brought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

from curvestep._window import WindowNeed, WindowReading
from curvestep.steprules._base import RuleState, StepRule


@final
@dataclass(frozen=True)
class Windows:
    """Where windows of steps end: k_{j+1} = ⌊growth · k_j⌋ + offset, from k_0 = 0.

    A displacement over a window is the sum of its steps: what they have in common grows with their number, their noise
    with its root. Windows that grow with the run cost ever less: k steps have about ln(k) / ln(growth) of them.

    Args:
        growth: without unit, at least 1.
        offset: a number of steps, at least 1.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> windows, ends = Windows(), [0]
        >>> for _ in range(7):
        ...     ends.append(windows.end(ends[-1]))
        >>> ends
        [0, 40, 92, 159, 246, 359, 506, 697]
    """

    growth: float = 1.3
    offset: int = 40

    def __post_init__(self) -> None:
        """Refuse windows that would not end, or end at once."""
        growth, offset = self.growth, self.offset
        number = isinstance(growth, (int, float)) and not isinstance(growth, bool)
        if not (number and math.isfinite(growth) and growth >= 1.0):
            msg = f"growth is the factor from one window's end to the next and at least 1, but {growth!r} was given."
            raise ValueError(msg)
        if not (isinstance(offset, int) and not isinstance(offset, bool) and offset >= 1):
            msg = f"offset is a number of steps and must be a whole number of at least 1, but {offset!r} was given."
            raise ValueError(msg)

    def end(self, start: int) -> int:
        """Return the number of the last step of the window that begins after step ``start``.

        Args:
            start: k_j, at least 0.
        """
        return int(self.growth * start) + self.offset

    def ends_within(self, calls: int) -> int:
        """Return how many of so many calls of ``step`` measure what a window brought; each of them takes a step too.

        Args:
            calls: At least 0.

        Example:
            >>> [Windows().ends_within(calls) for calls in (40, 41, 100, 1000)]
            [0, 1, 2, 8]
        """
        ends, last = 0, self.end(0)
        while last + 1 <= calls:
            ends, last = ends + 1, self.end(last)
        return ends


class WindowRule(StepRule, Protocol):
    """A step rule whose state moves at the ends of windows of steps, from a reading at the averaged parameters."""

    @property
    def window_needs(self) -> frozenset[WindowNeed]:
        """What the reading must have besides what every reading has."""
        ...

    def ends_window(self, state: RuleState) -> bool:
        """Whether the next batch is for a reading, before the step that is taken with it.

        Args:
            state: The rule's state after the last step.
        """
        ...

    def trial(self, state: RuleState) -> tuple[float, ...]:
        """Return the t at which J(x₀ + t (θ − x₀)) of the next batch is wanted, x₀ the run's beginning; mostly none.

        Args:
            state: The rule's state after the last step.
        """
        ...

    def judge(self, loss: float, along: Sequence[float], state: RuleState) -> RuleState | None:
        """Return the state with which the run begins again at x₀, or None where it goes on.

        Args:
            loss: J(θ); it need not be finite, nor need the others.
            along: The losses at the t of ``trial``.
            state: The rule's state after the last step.
        """
        ...

    def judge_window(self, reading: WindowReading, state: RuleState) -> RuleState | None:
        """Return the state with which the run begins again at x₀, or None where the rule learns from the reading.

        Args:
            reading: What the window brought.
            state: The rule's state at its end; where the window is not the run's first the answer is None.
        """
        ...

    def window(self, state: RuleState) -> tuple[int, int]:
        """Return (k', k): how many steps there were at the beginning of the window, and how many there are.

        Args:
            state: The rule's state after the last step.
        """
        ...

    def learn(self, reading: WindowReading, state: RuleState) -> RuleState:
        """Return the state with which the next window begins.

        Pure: ``state`` is not written to. A reading may hold numbers that are not finite, its ``loss`` excepted.

        Args:
            reading: What the window brought.
            state: The rule's state at its end.
        """
        ...
