"""`python -m benchmarks operations`: every rule checked against its truths, and the table of them."""

from __future__ import annotations

from benchmarks import options
from benchmarks.operations.row import OperationRow
from benchmarks.operations.row import page as document
from benchmarks.repository import DOCS, STORES, current, rows, write


def operations(
    render: options.Render = False,
    out: options.Out = STORES / "operations",
    page: options.Page = DOCS / "operations.md",
) -> None:
    """Check every rule, and note the operations of which something has changed; a minute on one thread."""
    from benchmarks.operations import measure
    from curvestep.bench.execute import torch_threads

    store = rows(out, OperationRow)
    if not render:
        with torch_threads(1):
            found = measure.measure()
        held = store.read()
        store.append(*(row for row in found if row not in held))
    write(page, document(current(store, measure.operations())))
