"""Runs the cases that the store has no row of, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.regimes.batches import run_batches
from curvestep.bench.regimes.momentum import run_momentum
from curvestep.bench.regimes.overshoot import run_overshoot
from curvestep.bench.regimes.plan import (
    CASES,
    AnyCase,
    BatchCase,
    Experiment,
    MomentumCase,
    OvershootCase,
)
from curvestep.bench.regimes.relu import run_relu
from curvestep.bench.regimes.row import RegimeStore, Row, case_key


def run_case(case: AnyCase, data_dir: Path | None) -> Row:
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
    store: RegimeStore,
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
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        stored = set() if afresh else {row.key for row in store.read()}
        for experiment in experiments:
            missing = [case for case in CASES[experiment] if case_key(experiment, case) not in stored]
            told(f"{experiment}: {len(missing)} of {len(CASES[experiment])} runs to make")
            for case in missing:
                row = run_case(case, data_dir)
                store.append(row)
                words = " ".join(f"{value}" for value in row.case.values())
                last = "not finite" if row.last is None else f"{row.last:.4g}"
                told(f"{experiment} {words}: {row.ended} after {row.steps} steps, {last}, {row.seconds:.1f} s")
    finally:
        torch.set_num_threads(before)
