"""The league's scores as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.league.score import Scores, calibrated


def _number(value: float) -> str:
    return "–" if value == float("inf") else f"{value:.3g}" if value >= 100 else f"{value:.3f}"


def table(scores: Scores, problems: Sequence[str], methods: Sequence[str]) -> str:
    """Return two tables: the scores a method, and the ratios a problem.

    Args:
        scores: of the methods.
        problems: rows of the second table.
        methods: rows of the first and columns of the second table.

    Returns:
        Markdown; the AdamW rate with the best geometric mean is marked.
    """
    rows = sorted(methods, key=lambda m: scores.geometric[m])
    one = calibrated(scores)
    lines = [
        "| method | geometric mean | worst ratio | profile, steps | profile, seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for m in rows:
        mark = " (the one best rate)" if m == one else ""
        numbers = (scores.geometric[m], scores.worst[m], scores.profile_steps[m], scores.profile_seconds[m])
        lines.append(f"| {m}{mark} | " + " | ".join(map(_number, numbers)) + " |")
    lines += ["", "| problem | best AdamW | " + " | ".join(rows) + " |", "| --- |" + " ---: |" * (len(rows) + 1)]
    for p in problems:
        cells = " | ".join(_number(scores.ratios[m][p]) for m in rows)
        lines.append(f"| {p} | {scores.best[p].removeprefix('adamw-')} | {cells} |")
    return "\n".join(lines)
