"""The pages on tasks and methods name each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curvestep.bench.methods import METHODS
from curvestep.bench.methods.measured import MEASURED
from curvestep.bench.methods.paper import PAPER
from curvestep.bench.tasks import TASKS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("table", [TASKS, METHODS], ids=["tasks", "methods"])
def test_the_benchmark_page_has_a_row_for_each(table: dict[str, object]) -> None:
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    first_cells = " ".join(re.findall(r"^\| (`[^|]*) \|", page, flags=re.MULTILINE))
    assert [name for name in table if f"`{name}`" not in first_cells] == []


def test_the_methods_page_shows_how_to_call_each() -> None:
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    quoted = [code or methods for code, methods in re.findall(r"`([^`]*)`|--methods? (.*)", page)]
    called = set(re.findall(r"[a-z]+(?:-[a-z]+)*", " ".join(quoted)))
    # What needs no page of ours: torch's own; Auto, its parts, its measurement and the source's figures have their own.
    others = {
        "sgd",
        "rmsprop",
        "adamw",
        "auto",
        "auto-ceiling",
        "auto-uncurved",
        *(method.name for method in (*MEASURED, *PAPER)),
    }
    assert [name for name in METHODS if name not in called | others] == []
