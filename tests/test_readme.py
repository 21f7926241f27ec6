"""The front page and the pages of comparisons say what the run stores say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.comparisons.plan import COMPARISONS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted({"README.md", *(each.page for each in COMPARISONS.values())})
TUTORIALS = ["README.md", "docs/quick-start.md"]


@pytest.mark.parametrize("name", PAGES)
def test_every_table_is_that_of_its_store(name: str) -> None:
    pytest.importorskip("rich", reason="the tables are made by the bench extra")
    from benchmarks.comparisons.pages import filled

    page = (ROOT / name).read_text(encoding="utf-8")
    assert "benchmarks/stores/" in page, "the page quotes no store"
    assert filled(page) == page, "run `make readme`"


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_exists(name: str) -> None:
    path = ROOT / name
    targets = re.findall(r"\]\(((?!http)[^)#]+)\)", path.read_text(encoding="utf-8"))
    assert targets
    assert not [target for target in targets if not (path.parent / target).exists()]


@pytest.mark.parametrize("name", TUTORIALS)
def test_every_snippet_runs_as_it_stands(name: str) -> None:
    """One after the other, as a reader would paste them; without the lines that write into the folder."""
    page = (ROOT / name).read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert snippets
    known: dict[str, object] = {}
    for snippet in snippets:
        exec(re.sub(r"^torch\.save\(.*$", "", snippet, flags=re.MULTILINE), known)
