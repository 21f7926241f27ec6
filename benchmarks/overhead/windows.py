"""What the default costs: the ends of its windows and its other calls, and runs that are made of both."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.overhead.cases import CASES
from benchmarks.overhead.row import OverheadRow
from benchmarks.overhead.variants import DEFAULT, DEFAULT_COMPILED, WINDOW_ENDS


def cost(row: OverheadRow, calls: int) -> float | None:
    """The time of a call in the mean over a run's first calls, in plain steps: u + n (w − u) / calls.

    Args:
        row: of the default: u is its `usual`, w its `rare`.
        calls: 300 or 1,000, of which n are windows' ends.

    Returns:
        The ratio; None where the two kinds of call were not timed apart.
    """
    if row.usual is None or row.rare is None:
        return None
    return row.usual + WINDOW_ENDS[calls] * (row.rare - row.usual) / calls


def section(rows: Sequence[OverheadRow]) -> str:
    """A table of the default's kinds of call and runs.

    Args:
        rows: of one machine, no size varied.

    Returns:
        Markdown; empty where the default was not measured.
    """
    own = [row for row in rows if row.method in (DEFAULT, DEFAULT_COMPILED) and row.usual is not None]
    if not own:
        return ""
    (few, ends_of_few), (many, ends_of_many) = sorted(WINDOW_ENDS.items())
    lines = [
        "### The default\n",
        f"`Auto` measures at the ends of its windows of steps: {ends_of_few} of the first {few:,} calls of `step`, "
        f"{ends_of_many} of the first {many:,}, fewer and fewer later. **window's end**, w, and **other calls**, u, "
        "are the medians of their times over that of a plain step of AdamW; a run has u + n (w − u) / calls with n "
        "windows' ends, and **ends alone** is 1 + n (w − 1) / calls, as if the other calls were plain steps. Elsewhere "
        f"on this page the rows of `Auto` are a run of {many:,} calls.\n",
        f"| | network | window's end | other calls | first {few:,} calls | first {many:,} calls "
        f"| ends alone, {many:,} |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in own:
        alone = None if row.rare is None else 1.0 + ends_of_many * (row.rare - 1.0) / many
        cells = " | ".join(_two(value) for value in (row.rare, row.usual, cost(row, few), cost(row, many), alone))
        lines.append(f"| {row.method} | {row.subject}{'°' if row.disturbed else ''} | {cells} |")
    missing = [spec.name for spec in CASES if "standard" in spec.sets and spec.name not in {row.subject for row in own}]
    if missing:
        lines.append(f"\nNot measured here: {'; '.join(missing)}.")
    return "\n".join(lines) + "\n"


def _two(value: float | None) -> str:
    """Two digits behind the point."""
    return "–" if value is None else f"{value:.2f}"
