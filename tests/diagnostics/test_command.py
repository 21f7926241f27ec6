"""`curvestep doctor`: what it prints, its status, and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from curvestep.cli.app import app

HOME = "tests.diagnostics.factories"


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns), "NO_COLOR": "1"}).invoke(app, ["doctor", *arguments])


@pytest.mark.parametrize("columns", [80, 120])
def test_a_covered_model(columns: int) -> None:
    result = run(f"{HOME}:perceptron", columns=columns)
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    for words in ("Covered", "aten.addmm", "8 samples", "plain step", "Peak memory", "RescaledAdam", "Auto: "):
        assert words in said
    assert "Auto begins with 0.07 of the weights' typical size" in said and "ends a window, and takes" in said
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= columns


def test_an_uncovered_model() -> None:
    result = run(f"{HOME}:uncovered")
    assert result.exit_code == 1
    assert "Not covered" in result.stdout and "→ Opaque" in result.stdout
    assert "curvestep.register_rule" in result.stdout


def test_a_file_is_taken_as_a_module_is(tmp_path: Path) -> None:
    file = tmp_path / "a_model_of_mine.py"
    file.write_text(f"from {HOME} import perceptron as example\n", encoding="utf-8")
    result = run(f"{file}:example", "--no-measure")
    assert result.exit_code == 0 and "Covered" in result.stdout


def test_json_alone() -> None:
    result = run(f"{HOME}:perceptron", "--json", "--no-measure")
    data = json.loads(result.stdout)
    assert result.exit_code == 0 and data["covered"] is True
    assert data["measurement"] is None and len(data["suggestions"]) == 6


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("perceptron", "MODULE:FACTORY"),
        ("no/such/file.py:f", "there is none of that name"),
        (":", "MODULE:FACTORY"),
        ("no_such_module_anywhere:f", "cannot be imported"),
        (f"{HOME}:absent", "has no absent"),
        (f"{HOME}:NUMBER", "must be a function"),
        (f"{HOME}:pair", "returned 2 things"),
        (f"{HOME}:broken", "raised OSError: the data are not there"),
        (f"{HOME}:mismatch", "could not be run on its batch: RuntimeError"),
    ],
)
def test_a_bad_argument_is_one_sentence(target: str, message: str) -> None:
    result = run(target)
    assert result.exit_code == 2
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_help_comes_without_torch() -> None:
    code = (
        "import sys\nfrom curvestep.cli.main import main\nsys.argv = ['curvestep', 'doctor', '--help']\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
