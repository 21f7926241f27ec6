"""The verdicts are read off the stores, and can go either way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.claims import plan
from benchmarks.claims.look import Look, look_store
from benchmarks.claims.page import interpolation_verdict, line_verdict, page, recovery_verdict, verdicts
from curvestep.bench.config import RunConfig
from curvestep.bench.record import DIVERGED, RunRecord, run_store
from tests.bench.synthetic import record

ROOT = Path(__file__).resolve().parents[2]


def looks(share: float) -> list[Look]:
    """Three steps a run, the middle one with this share of the best decrease."""
    return [
        Look(each.task, seed, step, 1.0, 0.0, 1.0 - part, best_step=2.0, step_size=1.0, outcome="TAKEN")
        for each in plan.LINE
        for seed in range(plan.SEEDS)
        for step, part in enumerate((-0.5, share, 1.0), start=1)
    ]


def finished(config: RunConfig, loss: float, recovery: int | None = None) -> RunRecord:
    """A run of these settings that ended at this loss; in each epoch the same number of steps to recovery."""
    base = record()
    last = replace(base.epochs[-1], step=100, train_eval_loss=loss, test_accuracy=0.9, recovery_steps=recovery)
    return replace(base, config=config, epochs=(last,) * config.epochs)


@pytest.mark.parametrize(("share", "held"), [(0.981, True), (0.979, False)])
def test_line(share: float, held: bool) -> None:
    verdict = line_verdict(looks(share))
    assert verdict.held is held
    for each in plan.LINE:
        # the 5 % quantile lies among the steps that lost half of what could be won
        assert f"| {each.task} | 9 | -0.500 | -0.500 | {share:.3f} | 1.000 | 1.000 | 3 | 0.50 |" in verdict.table


def test_line_with_runs_missing() -> None:
    some = [look for look in looks(1.0) if look.seed > 0]
    assert line_verdict(some).held is None and line_verdict([]).word == "not measured yet"


@pytest.mark.parametrize(("alig", "held"), [(0.1, True), (0.31, False)])
def test_interpolation(alig: float, held: bool) -> None:
    def loss(config: RunConfig) -> float:
        return alig if config.method == "alig" else 0.3 if config.lr == 0.1 else 0.5

    runs = [finished(config, loss(config)) for config in plan.interpolation_configs()]
    assert interpolation_verdict(runs).held is held
    assert interpolation_verdict(runs[1:]).held is None
    diverged = [replace(run, status=DIVERGED) if run.config.lr == 0.1 else run for run in runs]
    assert interpolation_verdict(diverged).held is True, "what diverged is not the best of the grid"
    assert "| sgd, lr 0.1 | diverged |" in interpolation_verdict(diverged).table


@pytest.mark.parametrize(("adapted", "held"), [(20, True), (None, False), (30, False)])
def test_recovery(adapted: int | None, held: bool) -> None:
    runs = [finished(config, 0.1, adapted if config.method == "eg-sgd" else 30) for config in plan.recovery_configs()]
    verdict = recovery_verdict(runs)
    assert verdict.held is held
    cell = "100.0 | 21 of 21" if adapted is None else f"{adapted:.1f} | 0 of 21"
    assert f"| 0.01 | 30.0 | 0 of 21 | {cell} |" in verdict.table
    assert verdict.remark.startswith(f"Smaller from {4 if held else 0} of 4 rates; ")


def test_page_says_each_verdict() -> None:
    text = page(verdicts(looks(0.5), []))
    assert "**not held.**" in text and text.count("**not measured yet.**") == 2


def test_the_committed_page_is_that_of_its_stores() -> None:
    folder = ROOT / "benchmarks" / "stores" / "claims"
    found = verdicts(look_store(folder).read(), run_store(folder).read())
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == page(found)
    assert all(verdict.held is not None for verdict in found)
