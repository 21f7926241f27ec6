"""`curvestep bench regimes` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from curvestep.bench.regimes.plan import CASES, OvershootCase
from curvestep.bench.regimes.row import RegimeStore
from tests.cli.test_cli import invoke, refuse, succeed


def test_runs_what_is_missing_and_writes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "overshoot", (OvershootCase("root", 1),))
    command = ("bench", "regimes", "--only", "overshoot", "--out", "kept")
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert "overshoot root 1: converged after 6 steps" in result.stderr
    assert len(RegimeStore(Path("kept")).read()) == 1
    assert "0 of 1 runs to make" in invoke(*command).stderr
    output = succeed("bench", "regimes", "--render", "--out", "kept", "--page", "docs/regimes.md")
    assert "changes nothing where there is none: held" in output and "docs/regimes.md" in output
    assert Path("docs/regimes.md").read_text(encoding="utf-8").startswith("# The regimes that the source leaves open")
    assert Path("docs/figures/regimes.svg").exists()


def test_refusals() -> None:
    assert "There is no experiment 'sleep'; the experiments are overshoot" in refuse(
        "bench", "regimes", "--only", "sleep"
    )
    assert "--threads is a whole number" in refuse("bench", "regimes", "--threads", "0")
