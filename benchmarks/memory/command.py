"""`python -m benchmarks memory`: what holding a recording costs."""

from __future__ import annotations

from benchmarks import options
from benchmarks.memory.row import MemoryRow
from benchmarks.memory.row import page as document
from benchmarks.repository import DOCS, STORES, rows, write


def memory(
    render: options.Render = False,
    afresh: options.Afresh = False,
    out: options.Out = STORES / "memory",
    page: options.Page = DOCS / "memory.md",
) -> None:
    """Measure peaks and times of a recorded step under each record(memory=…); a minute on one thread."""
    store = rows(out, MemoryRow)
    if not render:
        from benchmarks.memory.measure import measure_missing

        measure_missing(store, afresh=afresh)
    write(page, document(store.read()))
