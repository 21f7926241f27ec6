"""The order of networks and variants on the page, which is not that in which rows were measured."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.overhead.cases import CASES, growth
from benchmarks.overhead.row import OverheadRow
from benchmarks.overhead.variants import VARIANTS

_CASES = {spec.name: place for place, spec in enumerate((*CASES, *growth()))}
_VARIANTS = {variant.name: place for place, variant in enumerate(VARIANTS)}


def in_order(rows: Sequence[OverheadRow]) -> list[OverheadRow]:
    """Rows by network and variant as the benchmark lists them; what it does not know any more comes last.

    Args:
        rows: of one machine.

    Returns:
        The same rows.
    """
    return sorted(rows, key=lambda r: (_CASES.get(r.subject, len(_CASES)), _VARIANTS.get(r.method, len(_VARIANTS))))


def named(rows: Sequence[OverheadRow]) -> list[str]:
    """The variants of rows, each once, as the benchmark lists them."""
    return sorted(dict.fromkeys(row.method for row in rows), key=lambda name: _VARIANTS.get(name, len(_VARIANTS)))
