"""What a step costs more, per unit of what it delivers: beside each other, ours and other variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from benchmarks.overhead.order import named
from benchmarks.overhead.row import OverheadRow
from benchmarks.overhead.variants import VARIANTS

_VARIANTS = {variant.name: variant for variant in VARIANTS}
# What other variants to the same kind of curvature are held against: a parabola's losses stand for the exact one.
_OURS = {"exact": "RescaledSGD", "losses": "RescaledSGD", "ggn": "RescaledSGD, Gauss-Newton"}


@final
@dataclass(frozen=True)
class Price:
    """What one variant costs on one network, in plain steps.

    Args:
        step: (time − 1) for each measured step: times the number of steps from one measurement to the next, or of the
            step that measures where that was timed apart.
        number: the same for each curvature number that a measured step delivers.
    """

    step: float
    number: float


def price(row: OverheadRow) -> Price | None:
    """The price of a row.

    Args:
        row: of a variant.

    Returns:
        The price; None for variants that measure nothing, and where nothing was timed or other work was in the way.
    """
    variant = _VARIANTS.get(row.method)
    if variant is None or not variant.order or row.median is None or row.disturbed or not row.batch:
        return None
    step = (row.median - 1.0) * variant.every if row.rare is None else row.rare - 1.0
    return Price(step, step / variant.delivers(row.batch))


def section(rows: Sequence[OverheadRow]) -> str:
    """Two tables, and a sentence on each that says where another variant is cheaper.

    Args:
        rows: of one machine, no size varied.

    Returns:
        Markdown; empty where nothing was measured.
    """
    prices = {(row.method, row.subject): found for row in rows if (found := price(row)) is not None}
    if not prices:
        return ""
    cases = list(dict.fromkeys(row.subject for row in rows))
    methods = [name for name in named(rows) if any((name, case) in prices for case in cases)]
    out = [
        "### Per unit of what it delivers\n",
        "**per measured step**: time − 1, in plain steps, times the number of steps from one measurement to the next; "
        "where a step that measures was timed by itself, its time − 1. "
        "**per number**: that over the curvatures that a measured step delivers: one for each sample whose curvature "
        "it tells apart, or a single one for the batch. Other variants are held against `RescaledSGD`, those to the "
        "Gauss-Newton form against its Gauss-Newton row.\n",
    ]
    for title, pick in (("per measured step", _per_step), ("per number", _per_number)):
        out += [f"| {title} | {' | '.join(cases)} |", f"|---|{'--:|' * len(cases)}"]
        for method in methods:
            cells = [_two_digits(pick(prices.get((method, case)))) for case in cases]
            out.append(f"| {method} | {' | '.join(cells)} |")
        out.append("")
        compared = [
            (method, case, pick(prices[method, case]), pick(prices[ours, case]))
            for method in methods
            if (variant := _VARIANTS[method]).is_peer and (ours := _OURS[variant.order])
            for case in cases
            if (method, case) in prices and (ours, case) in prices
        ]
        out.append(_sentence(title, compared))
    return "\n".join(out)


def _per_step(found: Price | None) -> float | None:
    return None if found is None else found.step


def _per_number(found: Price | None) -> float | None:
    return None if found is None else found.number


def _sentence(unit: str, compared: Sequence[tuple[str, str, float | None, float | None]]) -> str:
    """Where another variant is cheaper than ours."""
    known = [(method, case, a, b) for method, case, a, b in compared if a is not None and b is not None]
    if not known:
        return f"No other variant was measured to compare with {unit}.\n"
    cheaper = [
        f"{method} on {case} ({_two_digits(theirs)} against {_two_digits(ours)})"
        for method, case, theirs, ours in known
        if theirs <= ours
    ]
    if not cheaper:
        return f"Of {len(known)} comparisons {unit}, other variants are dearer in all.\n"
    return (
        f"Of {len(known)} comparisons {unit}, other variants are dearer in {len(known) - len(cheaper)}. "
        f"Not dearer: {'; '.join(cheaper)}.\n"
    )


def _two_digits(value: float | None) -> str:
    """Two significant digits."""
    if value is None:
        return "–"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
