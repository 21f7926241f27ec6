"""The order of networks and ways on the page, which is not that in which rows were measured."""

from __future__ import annotations

from collections.abc import Sequence

from curvestep.bench.overhead.row import Row
from curvestep.bench.overhead.subjects import SUBJECTS, growth
from curvestep.bench.overhead.ways import WAYS

_SUBJECTS = {spec.name: place for place, spec in enumerate((*SUBJECTS, *growth()))}
_WAYS = {way.name: place for place, way in enumerate(WAYS)}


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Rows by network and way as the benchmark lists them; what it does not know any more comes last.

    Args:
        rows: of one machine.

    Returns:
        The same rows.
    """
    return sorted(rows, key=lambda r: (_SUBJECTS.get(r.subject, len(_SUBJECTS)), _WAYS.get(r.method, len(_WAYS))))


def named(rows: Sequence[Row]) -> list[str]:
    """The ways of rows, each once, as the benchmark lists them."""
    return sorted(dict.fromkeys(row.method for row in rows), key=lambda name: _WAYS.get(name, len(_WAYS)))
