"""The table of operations is that of its rows, and they are those of the rules that there are."""

from __future__ import annotations

from benchmarks.operations.row import OperationRow, page
from benchmarks.repository import DOCS, STORES, current, rows
from curvestep.engine.rules.table import RULES

# other tests register operations of their own, which are not in the package
OPERATIONS = sorted(str(op) for op in RULES if str(op).startswith(("aten.", "tape.", "prims.", "torchvision.")))
HELD = current(rows(STORES / "operations", OperationRow), OPERATIONS)


def test_the_page_is_that_of_its_rows() -> None:
    assert (DOCS / "operations.md").read_text(encoding="utf-8") == page(HELD), "run `make operations`"


def test_it_lists_the_rules_of_the_package() -> None:
    assert [row.op for row in HELD] == OPERATIONS, "run `make operations`"


def test_its_errors_are_within_the_limits() -> None:
    assert max(row.total or 0.0 for row in HELD) <= 1e-9
    assert max(row.per_sample or 0.0 for row in HELD) <= 1e-8
