"""The page of rounding errors: what it says is what was measured, of everything there is, and within its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.precision import measure
from benchmarks.precision.measure import SETTINGS, errors
from benchmarks.precision.row import NORMS, SEEDS, PrecisionRow, page
from benchmarks.precision.subjects import BUILDS, subject
from benchmarks.repository import DOCS, STORES, rows
from tests.benchmarks.commands import run

ROWS = rows(STORES / "precision", PrecisionRow).read()


def test_the_page_says_what_was_measured() -> None:
    assert (DOCS / "precision.md").read_text(encoding="utf-8") == page(ROWS)


def test_everything_was_measured() -> None:
    wanted = {(b, s.name, norm) for b in BUILDS for s in SETTINGS if s.suits(b, "cpu") for norm in NORMS}
    assert {row.key for row in ROWS} == wanted


def test_the_sentences_of_the_page_hold() -> None:
    for line in ROWS:
        exact = line.setting.endswith('"float32"') or ("float32," in line.setting and '"' not in line.setting)
        smooth = "ReLU" not in line.network
        assert line.own <= (1e-4 if exact else 2e-2)
        if exact and "autocast" not in line.setting and smooth:
            assert line.sample <= 1e-4
        if line.setting == 'float32, "bfloat16"':
            assert line.sample <= 1.5e-2 and line.total < line.sample


@pytest.mark.parametrize("name", ["dense, softplus", "GPT"])
def test_an_error_is_measured_again(name: str) -> None:
    line = next(e for e in ROWS if (e.network, e.setting, e.norm) == (name, 'float32, "bfloat16"', 1.0))
    setting = next(s for s in SETTINGS if s.name == line.setting)
    found = 0.0
    for seed in range(SEEDS):
        one = subject(name, seed)
        found = max(found, errors(one, setting, 1.0, one.curvature(1.0, dtype=torch.float64)[0])[2])
    # Other processors add in another order: errors of the same size, not the same errors.
    assert line.own / 5 <= found <= 5 * line.own


def test_the_command_measures_what_is_missing_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "BUILDS", {"dense, softplus": BUILDS["dense, softplus"]})
    monkeypatch.setattr(measure, "NORMS", (1.0,))
    document = tmp_path / "page.md"
    where = ("--out", str(tmp_path), "--page", str(document))
    run("precision", *where)
    text = document.read_text(encoding="utf-8")
    assert "| float32, two products |" in text and "## dense, softplus" in text
    stored = (tmp_path / "rows.jsonl").read_bytes()
    document.unlink()
    run("precision", *where)  # nothing is missing
    assert (tmp_path / "rows.jsonl").read_bytes() == stored and document.read_text(encoding="utf-8") == text
