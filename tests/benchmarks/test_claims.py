"""The claims: what is run for them, and what a line search beside a step sees."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import curvestep
from benchmarks.claims import line, plan
from benchmarks.claims.line import measure_line
from benchmarks.claims.look import Look, look_store
from benchmarks.claims.plan import LinePlan


def test_the_best_step_along_the_gradient_is_found() -> None:
    """On ½ Σ h θ² the decrease along g is greatest at Σ g² / Σ h g²."""
    theta = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    h = torch.tensor([1.0, 5.0], dtype=torch.float64)
    with curvestep.record() as tape:
        (0.5 * h * theta.square()).sum().backward()
    g = h * theta.detach()
    best = (g.square().sum() / (h * g.square()).sum()).item()
    least = (0.5 * h * (theta.detach() - best * g).square()).sum().item()
    for around in (best, best / 300, best * 300):
        step, loss = line._best(tape, [theta], around)
        # neighbours of the finer grid are 10^(1/64) apart, and the step at most half of that away
        assert step == pytest.approx(best, rel=10 ** (1 / 128) - 1)
        # a parabola: the loss is off by the square of that
        assert least <= loss <= least + (tape.loss.item() - least) * (10 ** (1 / 128) - 1) ** 2


def test_a_run_is_looked_at_and_stored_once(tmp_path: Path) -> None:
    store, told = look_store(tmp_path), list[str]()
    measure_line(LinePlan("digits-mlp", steps=12, every=5), 0, store, None, told.append)
    looks = store.read()
    assert [look.step for look in looks] == [5, 10]
    for look in looks:
        assert look.least < look.first and look.best_step > 0.0
        assert math.isfinite(look.reached) and look.share <= 1.0 + 1e-3  # the finer grid may miss the best by 1 %²
    measure_line(LinePlan("digits-mlp", steps=12, every=5), 0, store, None, told.append)
    assert store.read() == looks
    assert told == ["LQA on digits-mlp, seed 0: 2 line searches", "LQA on digits-mlp, seed 0: in the store"]


def test_looking_changes_nothing_in_the_run(tmp_path: Path) -> None:
    store = look_store(tmp_path)
    measure_line(LinePlan("digits-mlp", steps=12, every=2), 0, store, None, lambda _: None)
    dense = {look.step: look for look in store.read()}
    measure_line(LinePlan("digits-mlp", steps=12, every=12), 1, store, None, lambda _: None)
    sparse = look_store(tmp_path / "other")
    measure_line(LinePlan("digits-mlp", steps=12, every=12), 0, sparse, None, lambda _: None)
    (alone,) = sparse.read()
    assert (alone.first, alone.reached) == (dense[12].first, dense[12].reached)


def test_share() -> None:
    assert Look("t", 0, 1, first=1.0, least=0.5, reached=0.6, best_step=1.0, step_size=0.9, outcome="TAKEN").share == (
        pytest.approx(0.8)
    )


def test_the_runs_of_the_claims() -> None:
    configs = plan.interpolation_configs()
    assert len({config.key for config in configs}) == len(configs) == 2 * plan.SEEDS * (1 + 4 * 2)
    assert {config.weight_decay for config in configs} == {0.0}
    stream = plan.recovery_configs()
    assert len({config.key for config in stream}) == len(stream) == plan.SEEDS * 2 * 4
    assert {plan.turns(config) for config in stream} == {7}
