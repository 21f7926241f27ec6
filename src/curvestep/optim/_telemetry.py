"""What a run's steps were: how many ended in which way, and one line that says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curvestep._records import Outcome, StepRecord

#: Name in every parameter group of how many calls of ``step`` ended in which outcome, by the outcome's name.
OUTCOMES = "outcomes"


def none_yet() -> dict[str, int]:
    """Return the counts before the first step: every outcome, since a distributed checkpoint asks for known names."""
    return {outcome.name: 0 for outcome in Outcome}


def count(groups: Sequence[dict[str, Any]], former: Mapping[str, int], outcome: Outcome) -> None:
    """Write the counts that follow the former ones into every group; a dictionary once given away stays as it was."""
    name = outcome.name
    for group in groups:
        group[OUTCOMES] = {**former, name: former.get(name, 0) + 1}


def counts(groups: Sequence[dict[str, Any]]) -> dict[Outcome, int]:
    """Return how many calls ended in each outcome, the most frequent first."""
    held: Mapping[str, int] = groups[0].get(OUTCOMES, {})
    found = {outcome: int(held[outcome.name]) for outcome in Outcome if held.get(outcome.name)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def line(name: str, found: Mapping[Outcome, int], last: StepRecord | None) -> str:
    """Return one line: the outcomes of all calls, and the numbers of the last."""
    total = sum(found.values())
    if total == 0:
        return f"{name}: no step yet"
    parts = [f"{name}: {total:,} {'step' if total == 1 else 'steps'}"]
    parts += [f"{100.0 * n / total:.3g} % {outcome.name}" for outcome, n in found.items()]
    if last is not None:
        numbers = [("step size", last.step_size), ("curvature", last.curvature), ("loss", last.loss)]
        shown = ", ".join(f"{label} {value:.3g}" for label, value in numbers if value is not None)
        parts[-1] += f"; last: {shown}"
    return ", ".join(parts)
