"""The front page and the pages of comparisons say what the run stores say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.comparisons.plan import COMPARISONS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted({each.page for each in COMPARISONS.values()})


@pytest.mark.parametrize("name", PAGES)
def test_every_table_is_that_of_its_store(name: str) -> None:
    pytest.importorskip("rich", reason="the tables are made by the bench extra")
    from benchmarks.comparisons.pages import filled, stores

    page = (ROOT / name).read_text(encoding="utf-8")
    assert stores(page), "the page quotes no store"
    assert filled(page) == page, "run `make readme`"


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_exists(name: str) -> None:
    path = ROOT / name
    targets = re.findall(r"\]\(((?!http)[^)#]+)\)", path.read_text(encoding="utf-8"))
    assert targets
    assert not [target for target in targets if not (path.parent / target).exists()]
