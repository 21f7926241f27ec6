"""The table of operations is that of its numbers, and its numbers are of the rules that there are."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from curvestep.engine.rules.table import RULES

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = json.loads((ROOT / "docs" / "operations.json").read_text(encoding="utf-8"))


def _maker():
    spec = importlib.util.spec_from_file_location("make_operations", ROOT / "docs" / "make_operations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_its_numbers() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert _maker().table(NUMBERS) == page, "run `make operations`"


def test_it_lists_the_rules_of_the_package() -> None:
    # other tests register operations of their own, which are not in the package
    own = {str(op) for op in RULES if str(op).startswith(("aten.", "tape.", "prims.", "torchvision."))}
    assert {line["op"] for line in NUMBERS} == own, "run `make operations`"


def test_its_errors_are_within_the_limits() -> None:
    assert max(line.get("total", 0.0) for line in NUMBERS) <= 1e-9
    assert max(line.get("per_sample", 0.0) for line in NUMBERS) <= 1e-8
