"""Runs the cases that the store has no row of, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.regimes.batches import run_batches
from benchmarks.regimes.momentum import run_momentum
from benchmarks.regimes.overshoot import run_overshoot
from benchmarks.regimes.plan import (
    CASES,
    AnyCase,
    BatchCase,
    Experiment,
    MomentumCase,
    OvershootCase,
)
from benchmarks.regimes.relu import run_relu
from benchmarks.regimes.row import RegimeRow, case_key
from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.execute import torch_threads
from curvestep.bench.store import Store


def run_case(case: AnyCase, data_dir: Path | None) -> RegimeRow:
    """Make one run.

    Args:
        case: which.
        data_dir: folder of local data sets.

    Returns:
        Its row.
    """
    if isinstance(case, OvershootCase):
        return run_overshoot(case)
    if isinstance(case, BatchCase):
        return run_batches(case, data_dir)
    if isinstance(case, MomentumCase):
        return run_momentum(case, data_dir)
    return run_relu(case, data_dir)


def run_regimes(
    experiments: Sequence[Experiment],
    store: Store[RegimeRow],
    told: Callable[[str], None],
    *,
    data_dir: Path | None = None,
    threads: int | None = 1,
    afresh: bool = False,
) -> None:
    """Make the runs that are missing; each is stored as soon as it is over.

    Args:
        experiments: which.
        store: gets the rows.
        told: is told of each run in a line.
        data_dir: folder of local data sets.
        threads: of torch, None for its own choice.
        afresh: make runs again that are in the store.
    """
    keep_freed_memory()
    with torch_threads(threads):
        stored = frozenset() if afresh else store.keys()
        for experiment in experiments:
            missing = [case for case in CASES[experiment] if case_key(experiment, case) not in stored]
            told(f"{experiment}: {len(missing)} of {len(CASES[experiment])} runs to make")
            for case in missing:
                row = run_case(case, data_dir)
                store.append(row)
                words = " ".join(f"{value}" for value in row.case.values())
                last = "not finite" if row.last is None else f"{row.last:.4g}"
                told(f"{experiment} {words}: {row.ended} after {row.steps} steps, {last}, {row.seconds:.1f} s")
