"""`python -m benchmarks coverage`: the engine on a database of architectures."""

from __future__ import annotations

import typer

from benchmarks import options
from benchmarks.coverage.row import CoverageRow
from benchmarks.coverage.row import page as document
from benchmarks.repository import DOCS, STORES, current, rows, write


def coverage(
    render: options.Render = False,
    afresh: options.Afresh = False,
    out: options.Out = STORES / "coverage",
    page: options.Page = DOCS / "coverage.md",
) -> None:
    """Check the engine on the architectures of tests/models; the status is 1 if one was refused that must not be."""
    from tests.models import ROWS as MODELS

    store = rows(out, CoverageRow)
    if not render:
        from benchmarks.coverage.measure import measure_missing

        measure_missing(MODELS, store, afresh=afresh)
    held = current(store, [model.name for model in MODELS])
    write(page, document(held))
    allowed = {model.name for model in MODELS if model.refused}
    if any(row.refused and row.name not in allowed for row in held):
        raise typer.Exit(1)
