"""The verdicts on the open regimes are read off the rows, and can go either way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.regimes import page as regimes
from benchmarks.regimes import plan
from benchmarks.regimes.figure import write_figure
from benchmarks.regimes.page import page, verdicts
from benchmarks.regimes.plan import Experiment
from benchmarks.regimes.row import CONVERGED, DIVERGED, FINISHED, RegimeRow
from benchmarks.repository import STORES
from benchmarks.repository import rows as rows_of

ROOT = Path(__file__).resolve().parents[2]


def rows(experiment: Experiment, loss: Callable[[Any], float | None], ascents: float = 0.0) -> list[RegimeRow]:
    """All rows of an experiment, each with the loss that its case is given."""
    return [
        RegimeRow(
            experiment,
            asdict(case),
            FINISHED if loss(case) is not None else DIVERGED,
            100,
            2.0,
            loss(case),
            2.0,
            {"ascents": ascents, "least_lipschitz": 1.0, "looks": 100.0, "farthest": 3.0},
            {"TAKEN": 100},
            [[1.0, 2.0], [100.0, 1.0]],
        )
        for case in plan.CASES[experiment]
    ]


def test_overshoot() -> None:
    found = [replace(row, ended=CONVERGED) for row in rows("overshoot", lambda _: 0.0)]
    for row in found:
        if row.case["surface"] == "quadratic" and row.case["guard"]:
            row.numbers.update(equal_steps=200.0, compared_steps=200.0)
    assert regimes.overshoot_verdict(found).held is True
    assert "| quadratic | every step | converged | 100 | 3 | 0 | 1.00 | 200 of 200 |" in (
        regimes.overshoot_verdict(found).table
    )
    lost = [replace(row, ended=DIVERGED) if row.case["guard"] == 0 else row for row in found]
    assert regimes.overshoot_verdict(lost).held is True, "what is not guarded may go where it will"
    assert "Did not converge: √(1 + θ²) from 1000 with guard: none" in regimes.overshoot_verdict(lost).remark
    assert regimes.overshoot_verdict([replace(row, ended=DIVERGED) for row in found]).held is False
    for row in found:
        if "equal_steps" in row.numbers:
            row.numbers["equal_steps"] = 199.0
    assert regimes.overshoot_verdict(found).held is False, "one step that is not the same"
    assert regimes.overshoot_verdict(found[1:]).held is None


@pytest.mark.parametrize(("relu", "softplus", "held"), [(1.0, 1.0, True), (None, None, True), (None, 1.0, False)])
def test_relu(relu: float | None, softplus: float | None, held: bool) -> None:
    found = rows("relu", lambda case: relu if case.activation == "relu" else softplus)
    verdict = regimes.relu_verdict(found)
    assert verdict.held is held
    away = 28 if relu is None else 0
    assert f"Of 28 runs each, {away} ran away with ReLU" in verdict.remark
    blown = f"{away} and {28 if softplus is None else 0} of them ended above ten times the first loss or not finite"
    assert blown in verdict.remark
    assert ("resnet, Gauss-Newton; " in verdict.remark) is (relu is None)
    cell = "not finite | 2 | 2 of 2" if relu is None else "1 (1–1) | 2 | 0 of 2"
    assert f"| vgg | red-adam | exact | {cell} |" in verdict.table


@pytest.mark.parametrize(
    ("small", "remedied", "collapses", "repaired"),
    [(1.0, 0.1, True, True), (None, 0.1, True, True), (1.0, 1.0, True, False), (0.05, 0.05, False, True)],
)
def test_small_batches(small: float | None, remedied: float, collapses: bool, repaired: bool) -> None:
    def loss(case: plan.BatchCase) -> float | None:
        return 0.1 if case.size > 10 else remedied if case.remedy in ("memory", "both") else small

    found = rows("batches", loss)
    assert regimes.collapse_verdict(found).held is collapses
    assert regimes.repair_verdict(found).held is repaired
    word = "yes | yes | 0 of 4" if repaired else "no | no | 0 of 4"
    assert f"| red-adam | memory of 256 | {word} |" in regimes.repair_verdict(found).table


def test_levels_of_momentum() -> None:
    found = rows("momentum", lambda case: 2.0 - case.ell)
    fewer = [replace(row, numbers={"ascents": 0.4 * row.case["ell"]}) for row in found]
    verdict = regimes.level_verdict(fewer)
    assert verdict.held is True and "in 4 of 4 pairs" in verdict.remark
    assert "| digits | Adam | absolute | 1 (1–1) | 40.0 % | 0 of 2 |" in verdict.table
    assert regimes.level_verdict(found).held is False, "the same share at every level"
    away = [replace(row, last=3.0) if row.case["ell"] == 0.1 else row for row in fewer]
    assert regimes.level_verdict(away).held is False


@pytest.mark.parametrize(("best", "held"), [("absolute", True), ("smoothed", False)])
def test_slopes(best: str, held: bool) -> None:
    found = rows("momentum", lambda case: 0.5 if case.step == best and case.ell == 0.5 else 1.0)
    verdict = regimes.slope_verdict(found)
    assert verdict.held is held
    assert verdict.remark.count(best) == 4


@pytest.mark.parametrize("step", ["span", "layers"])
def test_other_models(step: str) -> None:
    better = rows("momentum", lambda case: 0.5 if case.step == step else 1.0)
    assert regimes.model_verdict(better, step).held is True
    level = rows("momentum", lambda _: 1.0)
    assert regimes.model_verdict(level, step).held is False
    assert f"| digits | gradient | {step} |" in regimes.model_verdict(level, step).table


def test_page_and_figure_with_nothing_and_with_everything(tmp_path: Path) -> None:
    everything = [row for name in plan.EXPERIMENTS for row in rows(name, lambda _: 1.0)]
    for found in ([], everything):
        text = page(verdicts(found), "figures/regimes.png")
        assert text.count("**not measured yet.**") == (8 if not found else 0)
        assert "![the four experiments](figures/regimes.png)" in text
        first, again = (write_figure(found, tmp_path / name / "regimes") for name in "ab")
        assert [path.name for path in first] == ["regimes.png", "regimes.svg"]
        for one, other in zip(first, again, strict=True):
            assert one.read_bytes() == other.read_bytes()


def test_the_committed_page_is_that_of_its_rows() -> None:
    found = verdicts(rows_of(STORES / "regimes", RegimeRow).read())
    assert (ROOT / "docs" / "regimes.md").read_text(encoding="utf-8") == page(found, "figures/regimes.png")
    assert all(verdict.held is not None for verdict in found)
    assert (ROOT / "docs" / "figures" / "regimes.png").exists()
