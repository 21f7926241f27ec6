"""Trials by name, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from benchmarks.league.methods import METHODS
from benchmarks.league.problems import PROBLEMS
from benchmarks.league.prototypes import PROTOTYPES
from benchmarks.league.store import Key
from benchmarks.league.trial import Trial, run

ALL = {**METHODS, **PROTOTYPES}


def one(key: Key) -> Trial:
    """Run the trial of a key."""
    problem, method, seed, scale = key
    return run(PROBLEMS[problem], ALL[method], seed, scale)


def execute(keys: Sequence[Key], workers: int) -> Iterator[Trial]:
    """Run trials in so many processes and yield them as they end."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(one, key) for key in keys]):
            yield future.result()
