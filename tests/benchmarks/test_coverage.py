"""The command that writes the table of architectures, on a database of three."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.commands import main
from benchmarks.coverage.row import CoverageRow, page
from benchmarks.overhead.profile import peak_bytes
from benchmarks.repository import DOCS, STORES, current, rows
from tests import models
from tests.benchmarks.commands import run
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


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ROWS", ROWS)
    document = tmp_path / "coverage.md"
    where = ("--out", str(tmp_path), "--page", str(document))
    run("coverage", *where)
    plain, opaque = rows(tmp_path, CoverageRow).read()
    assert plain.parameters == 3 * 4 + 4 + 4 * 2 + 2
    assert plain.error_total is not None and plain.error_total < 1e-12
    assert plain.error_per_sample is not None and plain.error_per_sample < 1e-12
    # Per sample, forward 12 + 8 multiply-adds, backward 12 + 2·8, tangent pass 12 in the first layer and 3·8 in the
    # second, whose input moves too.
    assert plain.products == pytest.approx((20 + 28 + 36) / (20 + 28), rel=1e-5)  # six digits are kept
    assert plain.time is not None and plain.time > 1 and plain.memory is not None and plain.memory >= 1
    assert "in the forward of Opaque" in opaque.refused
    assert "absent" in capsys.readouterr().err
    text = document.read_text()
    assert "1 of 2 architectures" in text and "| opaque | 8 |" in text
    document.unlink()
    run("coverage", "--render", *where)
    assert document.read_text() == text


def test_an_unexpected_refusal_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ROWS", [Model("opaque", "nets", lambda: case(Hidden(3, 2)))])
    with pytest.raises(SystemExit, match="1"):
        main(["coverage", "--out", str(tmp_path), "--page", str(tmp_path / "coverage.md")])


def test_peak_is_what_was_held_at_once() -> None:
    def run() -> None:
        a = torch.empty(10_000, dtype=torch.float64)
        del a
        b = torch.empty(20_000, dtype=torch.float64)
        c = torch.empty(5_000, dtype=torch.float64)
        del b, c

    assert peak_bytes(run) == 8 * 25_000


def test_the_committed_page_is_that_of_its_rows() -> None:
    held = current(rows(STORES / "coverage", CoverageRow), [model.name for model in DATABASE])
    assert (DOCS / "coverage.md").read_text(encoding="utf-8") == page(held)
    assert [(row.name, row.note) for row in held] == [(model.name, model.note) for model in DATABASE]
