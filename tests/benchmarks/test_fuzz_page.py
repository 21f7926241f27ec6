"""The page of random programs says what the store holds; a campaign goes on where the store ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.fuzz import command
from benchmarks.fuzz.row import FuzzRow, page
from benchmarks.repository import DOCS, STORES, rows
from tests.benchmarks.commands import run


def test_the_page_says_what_was_run() -> None:
    held = rows(STORES / "fuzz", FuzzRow).read()
    assert (DOCS / "fuzzing.md").read_text(encoding="utf-8") == page(held)


def test_a_new_find_ends_the_command_with_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz.run.run", lambda *_: ["total | sin | plain"])
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(command.fuzz)
    assert CliRunner().invoke(app, ["--out=kept", "--page=page.md"]).exit_code == 1
    monkeypatch.setattr("benchmarks.fuzz.run.run", lambda *_: [])
    assert CliRunner().invoke(app, ["--out=kept", "--page=page.md"]).exit_code == 0


@pytest.mark.filterwarnings("ignore")
def test_a_campaign_goes_on_where_the_store_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], float64: None
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--out=kept", "--page=page.md", "--jobs=1", "--seed=3")
    run("fuzz", "--cases=4", *where)
    run("fuzz", "--cases=6", *where)
    (one,) = rows(tmp_path / "kept", FuzzRow).read()
    assert (one.first, one.cases) == (0, 6) and one.checks > 0
    monkeypatch.setattr(command, "digest", lambda: "another")
    run("fuzz", "--cases=8", *where)
    one, two = rows(tmp_path / "kept", FuzzRow).read()
    assert (two.first, two.cases, two.engine) == (6, 2, "another")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert f"| {one.engine} |" in text and "| another |" in text
    assert "6 cases" in capsys.readouterr().out
