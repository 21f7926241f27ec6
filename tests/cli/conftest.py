"""Every test works in its own folder with its own cache."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURVESTEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CURVESTEP_DATA", raising=False)
    # A terminal of fixed width, so that messages break nowhere and tables always at the same place.
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
