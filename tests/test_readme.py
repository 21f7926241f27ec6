"""The front page and the page on Auto say what the run stores say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _maker():
    spec = importlib.util.spec_from_file_location("make_readme", ROOT / "docs" / "make_readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_that_of_its_store() -> None:
    pytest.importorskip("rich", reason="the tables are made by the bench extra")
    maker = _maker()
    for path in maker.PAGES:
        page = path.read_text(encoding="utf-8")
        assert maker.stores(page), "the page quotes no store"
        assert maker.filled(page) == page, "run `make readme`"


def test_every_figure_exists() -> None:
    import re

    for path in _maker().PAGES:
        targets = re.findall(r"\]\(((?!http)[^)#]+)\)", path.read_text(encoding="utf-8"))
        assert targets
        assert not [target for target in targets if not (path.parent / target).exists()]
