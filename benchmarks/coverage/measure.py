"""One architecture against its truths, with the time and memory of a recorded step."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata

import curvestep
from benchmarks.coverage.row import REPEATS, CoverageRow, entry
from benchmarks.overhead.profile import peak_bytes
from curvestep.bench.environment import environment
from curvestep.bench.execute import torch_threads
from curvestep.bench.store import Store
from curvestep.diagnostics.products import count_products
from curvestep.testing.problem import check_problem
from curvestep.testing.truths import Problem
from tests.models.row import Model


def measure_missing(models: Sequence[Model], store: Store[CoverageRow], *, afresh: bool) -> None:
    """Measure the architectures that the store lacks, on one thread; what needs an absent package is named and left."""
    held = frozenset() if afresh else store.keys()
    with torch_threads(1):
        for model in models:
            if model.name in held:
                continue
            if model.missing is not None:
                print(f"{model.name}: {model.missing}", file=sys.stderr)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the models' own code
                row = measure(model, _machine())
            store.append(row)
            print(entry(row), flush=True)


def _machine() -> str:
    """What the numbers were measured with."""
    here = environment("cpu")
    transformers = metadata.version("transformers") if importlib.util.find_spec("transformers") else "absent"
    return (
        f"torch {here['torch']}, transformers {transformers}, Python {here['python']}, {here['threads']} thread, "
        f"{here['processor']}"
    )


def measure(model: Model, machine: str) -> CoverageRow:
    """Check one architecture against its truths and take its times and peaks."""
    problem = model.problem()
    size = sum(p.numel() for p in problem.params)
    try:
        report = check_problem(lambda dtype: problem, smooth=model.smooth, single=False, exact=model.exact)
    except curvestep.MissingRuleError as refusal:
        return CoverageRow(model.name, model.family, model.note, size, machine, refused=str(refusal))
    exact = all(report.exact.values())
    plain, curved = _steps(problem)
    return CoverageRow(
        model.name,
        model.family,
        model.note,
        size,
        machine,
        operations=len(report.ops),
        error_total=report.worst("total"),
        error_per_sample=report.worst("per_sample[") if exact else None,
        error_differences=report.worst("total", truth_from="central differences") if model.smooth else None,
        source=", ".join(dict.fromkeys(report.sources.values())),
        products=_products(problem),
        time=_time_ratio(plain, curved),
        memory=peak_bytes(curved) / max(peak_bytes(plain), 1),
    )


def _steps(problem: Problem) -> tuple[Callable[[], None], Callable[[], None]]:
    """A forward and backward, alone and recorded with the curvature along the direction."""

    def clear() -> None:
        for p in problem.params:
            p.grad = None

    def plain() -> None:
        problem.loss().backward()
        clear()

    def curved() -> None:
        with curvestep.record(batch_size=problem.batch_size) as tape:
            problem.loss().backward()
        tape.curvature(problem.params, problem.direction)
        tape.release()
        clear()

    return plain, curved


def _products(problem: Problem) -> float | None:
    """Work of a step with curvature over that of a plain one, where products are all that counts."""
    with curvestep.record(batch_size=problem.batch_size) as tape:
        problem.loss().backward()
    moving = {tape.recording.leaves[id(p)][1] for p in problem.params if id(p) in tape.recording.leaves}
    found = count_products(tape.recording, tape.plan, moving).ratio
    tape.release()
    return found


def _time_ratio(plain: Callable[[], None], curved: Callable[[], None]) -> float:
    """Ratio of the medians of interleaved runs, so that what else the machine does falls on both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    plain()
    curved()
    for _ in range(REPEATS):
        for held, run in zip(seconds, (plain, curved), strict=True):
            start = time.process_time()
            run()
            held.append(time.process_time() - start)
    return statistics.median(seconds[1]) / statistics.median(seconds[0])
