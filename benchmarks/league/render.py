"""The league's scores as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.league.score import Scores, calibrated


def _number(value: float) -> str:
    return "–" if value == float("inf") else f"{value:.3g}" if value >= 100 else f"{value:.3f}"


def summary(scores: Scores, methods: Sequence[str]) -> str:
    """Return the scores of each method, the best geometric mean first.

    Args:
        scores: of the methods.
        methods: rows.

    Returns:
        Markdown; the AdamW rate with the best geometric mean is marked.
    """
    one = calibrated(scores)
    lines = [
        "| method | geometric mean | worst ratio | stopped at its best (worst) | profile, steps | profile, seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for m in sorted(methods, key=lambda m: scores.geometric[m]):
        mark = " (the one best rate)" if m == one else ""
        mean, worst = map(_number, scores.stopped[m])
        final = (_number(scores.geometric[m]), _number(scores.worst[m]))
        profiles = (_number(scores.profile_steps[m]), _number(scores.profile_seconds[m]))
        name = f"**{m}**" if m == "auto" else m
        lines.append(f"| {name}{mark} | " + " | ".join([*final, f"{mean} ({worst})", *profiles]) + " |")
    return "\n".join(lines)


def table(scores: Scores, problems: Sequence[str], methods: Sequence[str]) -> str:
    """Return the ratio of each method on each problem.

    Args:
        scores: of the methods.
        problems: rows.
        methods: columns, in the order of their geometric means.

    Returns:
        Markdown.
    """
    columns = sorted(methods, key=lambda m: scores.geometric[m])
    lines = ["| problem | best AdamW | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) + 1)]
    for p in problems:
        cells = " | ".join(_number(scores.ratios[m][p]) for m in columns)
        lines.append(f"| {p} | {scores.best[p].removeprefix('adamw-')} | {cells} |")
    return "\n".join(lines)
