"""The page of rounding errors: what it says is what was measured, of everything there is, and within its bounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from curvestep.bench import precision
from curvestep.bench.precision import BUILDS, NORMS, SEEDS, SETTINGS, Line, errors, main, subject, table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def committed() -> tuple[list[Line], dict[str, Any]]:
    """The numbers behind the page."""
    content = json.loads((DOCS / "precision.json").read_text(encoding="utf-8"))
    return [Line(**line) for line in content["lines"]], content["environment"]


def test_the_page_says_what_was_measured() -> None:
    assert (DOCS / "precision.md").read_text(encoding="utf-8") == table(*committed())


def test_everything_was_measured() -> None:
    lines, machine = committed()
    device = "cpu" if machine["accelerator"] is None else "cuda"
    wanted = {(b, s.name, norm) for b in BUILDS for s in SETTINGS if s.suits(b, device) for norm in NORMS}
    assert {(line.network, line.setting, line.norm) for line in lines} == wanted
    assert len(lines) == len(wanted)


def test_the_sentences_of_the_page_hold() -> None:
    for line in committed()[0]:
        exact = line.setting.endswith('"float32"') or ("float32," in line.setting and '"' not in line.setting)
        smooth = "ReLU" not in line.network
        assert line.own <= (1e-4 if exact else 2e-2)
        if exact and "autocast" not in line.setting and smooth:
            assert line.sample <= 1e-4
        if line.setting == 'float32, "bfloat16"':
            assert line.sample <= 1.5e-2 and line.total < line.sample


@pytest.mark.parametrize("name", ["dense, softplus", "GPT"])
def test_an_error_is_measured_again(name: str) -> None:
    line = next(e for e in committed()[0] if (e.network, e.setting, e.norm) == (name, 'float32, "bfloat16"', 1.0))
    setting = next(s for s in SETTINGS if s.name == line.setting)
    found = 0.0
    for seed in range(SEEDS):
        one = subject(name, seed)
        found = max(found, errors(one, setting, 1.0, one.curvature(1.0, dtype=torch.float64)[0])[2])
    # Other processors add in another order: errors of the same size, not the same errors.
    assert line.own / 5 <= found <= 5 * line.own


def test_the_command_measures_and_writes_and_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(precision, "DOCUMENT", page)
    monkeypatch.setattr(precision, "BUILDS", {"dense, softplus": BUILDS["dense, softplus"]})
    monkeypatch.setattr(precision, "NORMS", (1.0,))
    monkeypatch.setattr(sys, "argv", ["precision"])
    main()
    text = page.read_text(encoding="utf-8")
    assert "| float32, two products |" in text and "## dense, softplus" in text
    page.unlink()
    monkeypatch.setattr(sys, "argv", ["precision", "--render"])
    main()
    assert page.read_text(encoding="utf-8") == text
