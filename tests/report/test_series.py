"""Grouping and statistics of runs, on numbers written by hand."""

from __future__ import annotations

import dataclasses

import pytest

from curvestep.bench.record import RunRecord
from curvestep.report.series import Panel, panels
from tests.bench.synthetic import record


def panel(*records: RunRecord) -> Panel:
    (only,) = panels(records)
    return only


def test_runs_that_cannot_be_compared_are_in_different_panels() -> None:
    longer = record()
    longer = dataclasses.replace(longer, config=dataclasses.replace(longer.config, epochs=5))
    groups = panels([record(), record(task="mnist-lenet"), longer, record("red-sgd", None)])
    assert [(group.title, group.setting.epochs, len(group.series)) for group in groups] == [
        ("digits-mlp", 3, 2),
        ("mnist-lenet", 3, 1),
        ("digits-mlp", 5, 1),
    ]
    assert groups[0].subtitle == "paper scale, 3 epochs, batch 128"


def test_seeds_become_mean_and_range() -> None:
    (series,) = panel(*(record(seed=seed, final=final) for seed, final in enumerate((0.01, 0.03, 0.02)))).series
    spread = series.final("train_eval_loss")
    assert spread is not None
    assert (spread.mean, spread.low, spread.high) == (pytest.approx(0.02), 0.01, 0.03)
    curve = series.steps_curve("loss_ema", "epoch")
    assert curve.x[0] == pytest.approx(0.1) and curve.x[-1] == pytest.approx(3.0)
    assert (curve.mean[-1], curve.low[-1], curve.high[-1]) == (pytest.approx(0.02), 0.01, 0.03)
    assert series.steps_curve("loss_ema", "seconds").x[-1] == pytest.approx(0.3)
    assert series.epochs_curve("test_accuracy", "epoch").mean == pytest.approx((0.9, 0.9, 0.9))
    assert not curve.broken


def test_best_setting_of_each_method_leads() -> None:
    group = panel(record(lr=0.1, final=0.5), record(lr=1.0, final=0.1), record("red-sgd", None, final=0.2))
    assert [series.label for series in group.series] == ["sgd, lr 1", "red-sgd", "sgd, lr 0.1"]
    assert group.leaders == {"sgd, lr 1", "red-sgd"}
    assert group.rates("sgd") == 2


def test_one_diverged_seed_puts_a_series_last_and_ends_its_curves() -> None:
    group = panel(record(lr=1.0, final=0.1), record(lr=1.0, seed=1, diverged_at=15), record(lr=0.1, final=1.0))
    assert [series.label for series in group.series] == ["sgd, lr 0.1", "sgd, lr 1"]
    broken = group.series[1]
    assert broken.diverged == 1
    assert broken.final("train_eval_loss") is None and broken.final_smoothed("loss_ema") is None
    # A curve goes as far as every seed is finite; the 15th loss is the infinite one, and only epoch 1 was full.
    stored = [RunRecord.from_json(run.to_json()) for run in broken.runs]
    curve = panel(*stored).series[0].steps_curve("loss_ema", "epoch")
    assert curve.broken and len(curve.x) == 14
    assert broken.epochs_curve("test_loss", "epoch").x == (1.0,)
