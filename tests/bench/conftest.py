"""Every test has its own cache, and no data folder from outside unless it is marked to need one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.synthetic import write_data


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVESTEP_CACHE", str(tmp_path / "cache"))
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("CURVESTEP_DATA", raising=False)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random data in the real formats."""
    return write_data(tmp_path_factory.mktemp("data") / "sets")
