"""What a step costs more, per unit of what it delivers: beside each other, ours and other ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from curvestep.bench.overhead.row import Row
from curvestep.bench.overhead.ways import WAYS
from curvestep.report.overhead_order import named

_WAYS = {way.name: way for way in WAYS}
# What other ways to the same kind of curvature are held against: a parabola's losses stand for the exact one.
_OURS = {"exact": "RescaledSGD", "losses": "RescaledSGD", "ggn": "RescaledSGD, Gauss-Newton"}


@final
@dataclass(frozen=True)
class Price:
    """What one way costs on one network, in plain steps.

    Args:
        step: (time − 1) for each measured step: times the number of steps from one measurement to the next.
        number: the same for each curvature number that a measured step delivers.
    """

    step: float
    number: float


def price(row: Row) -> Price | None:
    """The price of a row.

    Args:
        row: of a way.

    Returns:
        The price; None for ways that measure nothing, and where nothing was timed or other work was in the way.
    """
    way = _WAYS.get(row.method)
    if way is None or not way.order or row.median is None or row.disturbed or not row.batch:
        return None
    step = (row.median - 1.0) * way.every
    return Price(step, step / way.delivers(row.batch))


def section(rows: Sequence[Row]) -> str:
    """Two tables, and a sentence on each that says where another way is cheaper.

    Args:
        rows: of one machine, no size varied.

    Returns:
        Markdown; empty where nothing was measured.
    """
    prices = {(row.method, row.subject): found for row in rows if (found := price(row)) is not None}
    if not prices:
        return ""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    methods = [name for name in named(rows) if any((name, subject) in prices for subject in subjects)]
    out = [
        "### Per unit of what it delivers\n",
        "**per measured step**: time − 1, in plain steps, times the number of steps from one measurement to the next. "
        "**per number**: that over the curvatures that a measured step delivers: one for each sample whose curvature "
        "it tells apart, or a single one for the batch. Other ways are held against `RescaledSGD`, those to the "
        "Gauss-Newton form against its Gauss-Newton row.\n",
    ]
    for title, pick in (("per measured step", _per_step), ("per number", _per_number)):
        out += [f"| {title} | {' | '.join(subjects)} |", f"|---|{'--:|' * len(subjects)}"]
        for method in methods:
            cells = [_two_digits(pick(prices.get((method, subject)))) for subject in subjects]
            out.append(f"| {method} | {' | '.join(cells)} |")
        out.append("")
        compared = [
            (method, subject, pick(prices[method, subject]), pick(prices[ours, subject]))
            for method in methods
            if (way := _WAYS[method]).is_peer and (ours := _OURS[way.order])
            for subject in subjects
            if (method, subject) in prices and (ours, subject) in prices
        ]
        out.append(_sentence(title, compared))
    return "\n".join(out)


def _per_step(found: Price | None) -> float | None:
    return None if found is None else found.step


def _per_number(found: Price | None) -> float | None:
    return None if found is None else found.number


def _sentence(unit: str, compared: Sequence[tuple[str, str, float | None, float | None]]) -> str:
    """Where another way is cheaper than ours."""
    known = [(method, subject, a, b) for method, subject, a, b in compared if a is not None and b is not None]
    if not known:
        return f"No other way was measured to compare with {unit}.\n"
    cheaper = [
        f"{method} on {subject} ({_two_digits(theirs)} against {_two_digits(ours)})"
        for method, subject, theirs, ours in known
        if theirs <= ours
    ]
    if not cheaper:
        return f"Of {len(known)} comparisons {unit}, other ways are dearer in all.\n"
    return (
        f"Of {len(known)} comparisons {unit}, other ways are dearer in {len(known) - len(cheaper)}. "
        f"Not dearer: {'; '.join(cheaper)}.\n"
    )


def _two_digits(value: float | None) -> str:
    """Two significant digits."""
    if value is None:
        return "–"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
