"""A row of a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table_row(cells: Sequence[str]) -> str:
    """The row of some cells."""
    return f"| {' | '.join(cells)} |"
