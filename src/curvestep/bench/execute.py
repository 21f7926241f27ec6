"""Many runs into one store: those already there are skipped, each finished one is appended at once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from curvestep.bench.config import RunConfig
from curvestep.bench.errors import SettingError
from curvestep.bench.record import RunRecord
from curvestep.bench.runner import Progress, resolve_device, run
from curvestep.bench.store import Store


class Listener(Protocol):
    """Who watches the runs."""

    def skipped(self, config: RunConfig) -> None:
        """A run was already in the store."""
        ...

    def started(self, config: RunConfig) -> None:
        """A run begins (with several jobs: is queued)."""
        ...

    def stepped(self, config: RunConfig, progress: Progress) -> None:
        """A run did a step (not reported with several jobs)."""
        ...

    def finished(self, record: RunRecord) -> None:
        """A run is in the store."""
        ...


def execute(
    configs: Sequence[RunConfig],
    store: Store[RunRecord],
    listener: Listener,
    *,
    data_dir: Path | None = None,
    threads: int | None = None,
    jobs: int = 1,
    afresh: bool = False,
    weights: Path | None = None,
) -> None:
    """Do the runs that the store lacks, ``jobs`` at a time; ``weights`` is the file for the weights of a single run.

    Raises:
        SettingError: if a setting does not fit the data or the machine.
        DataError: if data is missing or broken.
        StoreError: if the store cannot be read or written.
    """
    if jobs < 1:
        raise SettingError(f"--jobs is a whole number ≥ 1, {jobs} was given.")
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    for device in {config.device for config in configs}:
        resolve_device(device)
    store.open()
    present = frozenset() if afresh else store.keys()
    missing: list[RunConfig] = []
    for config in configs:
        if config.key in present:
            listener.skipped(config)
        else:
            missing.append(config)
    if jobs == 1 or len(missing) < 2:
        _one_by_one(missing, store, listener, data_dir, threads, weights)
    else:
        _side_by_side(missing, store, listener, data_dir, threads or max(1, (os.cpu_count() or 1) // jobs), jobs)


def _one_by_one(
    configs: Sequence[RunConfig],
    store: Store[RunRecord],
    listener: Listener,
    data_dir: Path | None,
    threads: int | None,
    weights: Path | None,
) -> None:
    """In this process."""
    with torch_threads(threads):
        for config in configs:
            listener.started(config)
            record = run(config, data_dir, lambda seen, config=config: listener.stepped(config, seen), weights)
            store.append(record)
            listener.finished(record)


def _side_by_side(
    configs: Sequence[RunConfig],
    store: Store[RunRecord],
    listener: Listener,
    data_dir: Path | None,
    threads: int,
    jobs: int,
) -> None:
    """In fresh processes: a forked one would share torch's thread pools and may hang."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        futures = []
        for config in configs:
            listener.started(config)
            futures.append(pool.submit(run, config, data_dir))
        try:
            for future in as_completed(futures):
                record = future.result()
                store.append(record)
                listener.finished(record)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Set the number of threads of torch inside the block; None for torch's own choice.

    Raises:
        SettingError: if the number is below 1.
    """
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
