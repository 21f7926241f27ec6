"""Makes the runs that the store lacks, one after the other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.overhead.row import Machine
from benchmarks.overhead.run import machine_name
from benchmarks.sensitivity.plan import Case, cases
from benchmarks.sensitivity.row import SensitivityRow, case_key
from benchmarks.sensitivity.subjects import method
from curvestep.bench.environment import environment
from curvestep.bench.execute import torch_threads
from curvestep.bench.feeds.last import LastFeed
from curvestep.bench.record import FINISHED, RunRecord
from curvestep.bench.runner import run
from curvestep.bench.store import Store


def make_runs(
    tasks: Sequence[str],
    store: Store[SensitivityRow],
    machines: Store[Machine],
    told: Callable[[str], None],
    *,
    data_dir: Path | None = None,
    threads: int | None = 1,
    afresh: bool = False,
) -> None:
    """Make the runs that are missing; each is stored as soon as it is over.

    Args:
        tasks: names.
        store: gets the rows.
        machines: gets this machine.
        told: is told of each curve in a line.
        data_dir: folder of local data sets.
        threads: of torch, None for its own choice.
        afresh: make runs again that are in the store.
    """
    with torch_threads(threads):
        here = environment("cpu")
        machine = machine_name(here)
        stored = frozenset() if afresh else store.keys()
        missing = [case for task in tasks for case in cases(task) if case_key(case) not in stored]
        told(f"{len(missing)} runs to make")
        if missing and Machine(machine, here) not in machines.read():
            machines.append(Machine(machine, here))
        feeds = LastFeed()
        for number, case in enumerate(missing, start=1):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* has run away or come to a stop")  # the row says so
                warnings.filterwarnings("ignore", ".* is a level ℓ without unit")  # it is meant to be far off
                record = run(case.config(), data_dir, method=method(case.subject.name), feeds=feeds)
            row = row_of(case, record, machine)
            store.append(row)
            last = "a miss" if row.train is None else f"{row.train:.4g}"
            told(f"{number} of {len(missing)}: {row.task} {row.method} {row.value:g} seed {row.seed}: {last}")


def row_of(case: Case, record: RunRecord, machine: str) -> SensitivityRow:
    """What is kept of a run: its end, without the curves, of which a thousand would be tens of megabytes."""
    last = record.last if record.status == FINISHED else None
    return SensitivityRow(
        task=case.task,
        method=case.subject.name,
        value=case.value,
        seed=case.seed,
        status=record.status,
        steps=record.diverged_at or (0 if last is None else last.step),
        train=None if last is None else _finite(last.train_eval_loss),
        test=None if last is None else _finite(last.test_loss),
        accuracy=None if last is None else last.test_accuracy,
        seconds=0.0 if record.last is None else record.last.seconds,
        machine=machine,
        data=record.data,
        revision=record.revision,
    )


def _finite(value: float | None) -> float | None:
    """None for what is not finite."""
    return value if value is not None and math.isfinite(value) else None
