"""The command that writes the table of architectures, on a database of three."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from curvestep.bench.coverage import DOCUMENT, Line, main, peak_bytes, table
from tests.models import ROWS as DATABASE
from tests.models.row import Case, Model, supervised


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.tanh()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


class Hidden(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return Opaque.apply(super().forward(input))  # type: ignore[return-value]


def case(net: nn.Module) -> Case:
    return supervised(net, torch.randn(4, 3), lambda out: out.square().sum(1))


ROWS = [
    Model("plain", "nets", lambda: case(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))),
    Model("opaque", "nets", lambda: case(Hidden(3, 2)), refused="Opaque"),
    Model("absent", "others", lambda: case(nn.Linear(3, 2)), needs=("a_package_that_is_not_there",)),
]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "coverage.md"
    assert main(["--rows", "tests.bench.test_coverage:ROWS", "--out", str(out)]) == 0
    held = json.loads(out.with_suffix(".json").read_text())
    plain, opaque = held["lines"]
    assert plain["parameters"] == 3 * 4 + 4 + 4 * 2 + 2
    assert plain["error_total"] < 1e-12 and plain["error_per_sample"] < 1e-12
    # Per sample, forward 12 + 8 multiply-adds, backward 12 + 2·8, tangent pass 12 in the first layer and 3·8 in the
    # second, whose input moves too.
    assert plain["products"] == pytest.approx((20 + 28 + 36) / (20 + 28))
    assert plain["time"] > 1 and plain["memory"] >= 1
    assert opaque["refused"].startswith("A derivative rule for Opaque")
    assert "absent" in capsys.readouterr().err
    text = out.read_text()
    assert "1 of 2 architectures" in text and "| opaque | 8 |" in text
    out.unlink()
    assert main(["--render", "--out", str(out)]) == 0
    assert out.read_text() == text


def test_an_unexpected_refusal_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.test_coverage.ROWS", [Model("opaque", "nets", lambda: case(Hidden(3, 2)))])
    assert main(["--rows", "tests.bench.test_coverage:ROWS", "--out", str(tmp_path / "coverage.md")]) == 1


def test_peak_is_what_was_held_at_once() -> None:
    def run() -> None:
        a = torch.empty(10_000, dtype=torch.float64)
        del a
        b = torch.empty(20_000, dtype=torch.float64)
        c = torch.empty(5_000, dtype=torch.float64)
        del b, c

    assert peak_bytes(run) == 8 * 25_000


def test_the_committed_document_is_that_of_its_numbers() -> None:
    document = Path(__file__).parents[2] / DOCUMENT
    held = json.loads(document.with_suffix(".json").read_text(encoding="utf-8"))
    lines = [Line(**line) for line in held["lines"]]
    assert document.read_text(encoding="utf-8") == table(lines, held["environment"])
    assert [(line.name, line.note) for line in lines] == [(row.name, row.note) for row in DATABASE]
