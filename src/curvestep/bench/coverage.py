"""Measure the engine on a database of architectures, and write the table of the documentation.

    python -m curvestep.bench.coverage                 # from the root of a checkout: measures, then writes both files
    python -m curvestep.bench.coverage --render        # only writes the table again, from the committed numbers

The rows come from `tests.models:ROWS`, or from any `module:name` given with `--rows`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch

import curvestep
from curvestep.bench.environment import environment
from curvestep.diagnostics.products import count_products
from curvestep.testing.problem import check_problem
from curvestep.testing.truths import Problem

REPEATS = 15  # interleaved; the median of fifteen ignores seven disturbed ones
DOCUMENT = Path("docs/coverage.md")
COLUMNS = (
    "architecture", "parameters", "operations", "total", "per sample", "differences", "pass", "products", "time",
    "memory",
)  # fmt: skip


class Architecture(Protocol):
    """What a row of the database must offer."""

    name: str
    family: str
    smooth: bool
    exact: bool
    refused: str
    note: str

    @property
    def missing(self) -> str | None:
        """A sentence that names a missing package, or None."""
        ...

    def problem(self) -> Problem:
        """The loss, its terms and a direction, the same numbers at every call."""
        ...


@final
@dataclass(frozen=True)
class Line:
    """One line of the table; numbers are None where the engine refuses the architecture.

    Attributes:
        name, family, note: of the row.
        parameters: how many numbers move.
        operations: distinct operations on the way from them to the loss.
        error_total: of ⟨∇²J d, d⟩, the largest of all passes, against double backward.
        error_per_sample: of the split, None where it is not claimed to be exact.
        error_differences: of the total against central differences, None where the loss has kinks.
        source: the pass that `form="auto"` took.
        products: multiply-adds of a step with curvature over those of a plain one, None without products.
        time: processor time of a recorded step with its curvature over that of a plain one.
        memory: the same ratio of peaks of allocated bytes.
        refused: the sentence of the refusal, empty where there is none.
    """

    name: str
    family: str
    note: str
    parameters: int
    operations: int | None = None
    error_total: float | None = None
    error_per_sample: float | None = None
    error_differences: float | None = None
    source: str = ""
    products: float | None = None
    time: float | None = None
    memory: float | None = None
    refused: str = ""


def measure(row: Architecture) -> Line:
    """Check one architecture against its truths and take its times and peaks."""
    problem = row.problem()
    size = sum(p.numel() for p in problem.params)
    try:
        report = check_problem(lambda dtype: problem, smooth=row.smooth, single=False, exact=row.exact)
    except curvestep.MissingRuleError as refusal:
        return Line(row.name, row.family, row.note, size, refused=str(refusal))
    exact = all(report.exact.values())
    plain, curved = _steps(problem)
    return Line(
        row.name,
        row.family,
        row.note,
        size,
        operations=len(report.ops),
        error_total=report.worst("total"),
        error_per_sample=report.worst("per_sample[") if exact else None,
        error_differences=report.worst("total", truth_from="central differences") if row.smooth else None,
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


def peak_bytes(run: Callable[[], None]) -> int:
    """The highest sum of bytes that torch's allocator handed out during a run, above what was held before it.

    Args:
        run: a step.

    Returns:
        The peak of the running sum of the profiler's memory events, which see every tensor, those of kernels and of
        passes that switch dispatch modes off too.
    """
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    results: Any = seen.profiler
    events = [(e.start_ns(), e.nbytes()) for e in results.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for _, change in sorted(events, key=lambda e: e[0]):
        held += change
        peak = max(peak, held)
    return peak


# -- the table ----------------------------------------------------------------------------------------------------


def table(lines: Sequence[Line], machine: dict[str, Any]) -> str:
    """The document, from measured numbers."""
    covered = [line for line in lines if not line.refused]
    out = [
        "# What the engine covers",
        "",
        f"{len(covered)} of {len(lines)} architectures of `tests/models`, at tiny size, with random weights, in "
        "float64, each by its own forward with its default kernels. "
        "Generated by `python -m curvestep.bench.coverage`.",
        "",
        "* **total**: relative error of ⟨∇²J d, d⟩ against double backward of an explicit form, the largest of the "
        "passes `auto`, `tangent`, `taylor` and ⟨d, hvp(d)⟩ (allowed: 1e-9).",
        "* **per sample**: the same of ⟨∇²J_s d, d⟩, the largest of the samples (allowed: 1e-8); *not claimed* where "
        "the engine says `per_sample_exact=False`.",
        "* **differences**: relative error of the total against central differences of the loss, extrapolated twice "
        "(allowed: 1e-6); *kinks* where the loss has some.",
        "* **pass**: what `auto` took. *tangent+taylor*: samples mix somewhere, or weights are transformed before use.",
        "* **products**, **time**, **memory**: forward, backward and curvature over forward and backward. "
        "Multiply-adds of matrix products and convolutions, which decide for nets of a useful size; processor time, "
        f"medians of {REPEATS} interleaved runs, which at this size is what an operation costs in Python; peaks of the "
        "bytes that torch's profiler saw allocated.",
        "",
        f"Measured with torch {machine['torch']}, transformers {machine.get('transformers', 'absent')}, Python "
        f"{machine['python']}, {machine['threads']} thread, {machine['processor']}.",
    ]
    for family in dict.fromkeys(line.family for line in lines):
        out += [
            "",
            f"## {family[0].upper()}{family[1:]}",
            "",
            f"| {' | '.join(COLUMNS)} | |",
            "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|---|",
        ]
        out += [_entry(line) for line in lines if line.family == family]
    refused = [line for line in lines if line.refused]
    if refused:
        out += ["", "## Refusals", ""]
        out += [f"* **{line.name}**: {line.refused}" for line in refused]
    return "\n".join(out) + "\n"


def _entry(line: Line) -> str:
    if line.refused:
        return f"| {line.name} | {line.parameters} | | | | | refused | | | | {line.note} |"
    per_sample = "not claimed" if line.error_per_sample is None else f"{line.error_per_sample:.0e}"
    differences = "kinks" if line.error_differences is None else f"{line.error_differences:.0e}"
    products = "none" if line.products is None else f"{line.products:.2f}"
    return (
        f"| {line.name} | {line.parameters} | {line.operations} | {line.error_total:.0e} | {per_sample} | "
        f"{differences} | {line.source} | {products} | {line.time:.1f} | {line.memory:.1f} | {line.note} |"
    )


# -- the command ----------------------------------------------------------------------------------------------------


def load(name: str) -> Iterable[Architecture]:
    """The rows behind `module:name`."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; see the module.

    Args:
        arguments: of the command line; None for the process's own.

    Returns:
        The exit status: 0, or 1 where a row that must not be refused was.
    """
    parser = argparse.ArgumentParser(prog="python -m curvestep.bench.coverage", description=__doc__)
    parser.add_argument("--rows", default="tests.models:ROWS", help="module:name of the rows")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the document; its numbers go beside it as .json")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the document from its numbers")
    given = parser.parse_args(arguments)
    numbers: Path = given.out.with_suffix(".json")
    unexpected = 0
    if not given.render:
        torch.set_num_threads(1)
        machine = environment("cpu")
        lines: list[Line] = []
        for row in load(given.rows):
            if row.missing is not None:
                print(f"{row.name}: {row.missing}", file=sys.stderr)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the models' own code
                lines.append(measure(row))
            unexpected += bool(lines[-1].refused) and not row.refused
            print(_entry(lines[-1]), flush=True)
        if "transformers" in sys.modules:
            machine["transformers"] = sys.modules["transformers"].__version__
        held = {"environment": machine, "lines": [asdict(line) for line in lines]}
        numbers.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    held = json.loads(numbers.read_text(encoding="utf-8"))
    given.out.write_text(table([Line(**line) for line in held["lines"]], held["environment"]), encoding="utf-8")
    return int(unexpected > 0)


if __name__ == "__main__":
    raise SystemExit(main())
