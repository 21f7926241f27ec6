"""Trials by name, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from benchmarks.league.methods import METHODS, VARIED, VARIED_TRIALS
from benchmarks.league.problems import CHANGED, PROBLEMS
from benchmarks.league.prototypes import PROTOTYPES
from benchmarks.league.score import Key
from benchmarks.league.trial import Trial, run

ALL = {**METHODS, **{row.name: row for row in (*VARIED, *VARIED_TRIALS)}, **PROTOTYPES}


def one(key: Key) -> Trial:
    """Run the trial of a key."""
    problem, method, seed, scale = key
    return run({**PROBLEMS, **CHANGED}[problem], ALL[method], seed, scale)


def execute(keys: Sequence[Key], workers: int, goes_on: Callable[[], bool]) -> Iterator[Trial]:
    """Run trials in so many processes and yield them as they end; begin none once ``goes_on`` says no."""
    left, running = list(reversed(keys)), set[Future[Trial]]()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while running or (left and goes_on()):
            while left and len(running) < workers and goes_on():
                running.add(pool.submit(one, left.pop()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
