"""`python -m benchmarks precision`: rounding errors of the curvature."""

from __future__ import annotations

from benchmarks import options
from benchmarks.precision.row import PrecisionRow
from benchmarks.precision.row import page as document
from benchmarks.repository import DOCS, STORES, rows, write


def precision(
    render: options.Render = False,
    afresh: options.Afresh = False,
    out: options.Out = STORES / "precision",
    page: options.Page = DOCS / "precision.md",
) -> None:
    """Measure the rounding errors of the curvature in every setting of speed and precision; some minutes."""
    store = rows(out, PrecisionRow)
    if not render:
        from benchmarks.precision.measure import measure_missing

        measure_missing(store, afresh=afresh)
    write(page, document(store.read()))
