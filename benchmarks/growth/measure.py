"""One size: CPU times of plain and measured steps in turn, their products and their peaks."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence

import torch

import curvestep
from benchmarks.growth.plan import Baseline, Size, Variant
from benchmarks.growth.row import GrowthKey, GrowthRow
from benchmarks.overhead import own_steps
from benchmarks.overhead.cases import Case
from benchmarks.overhead.measure import keeper
from benchmarks.overhead.prepared import Prepared
from benchmarks.overhead.profile import Profile, execute
from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.environment import revision
from curvestep.bench.store import Store
from curvestep.optim._options import MEASUREMENTS

_FEWEST, _MOST = 3, 15

# A step of a long run: no power of two is near, at which the slope of the whole batch is looked at too.
_LATE = 1 << 20


def _quarter(case: Case) -> Prepared:
    """A quarter of the samples on every step, late in a run."""
    optimizer = curvestep.RescaledSGD(case.parameters, curvature_samples=0.25)
    take = own_steps.by_closure(optimizer, case)

    def step() -> None:
        for group in optimizer.param_groups:
            group[MEASUREMENTS] = _LATE
        take()

    return Prepared(step)


#: Each variant with the plain step along its direction.
VARIANTS: dict[Variant, tuple[Callable[[Case], Prepared], Baseline]] = {
    "whole": (own_steps.rescaled, "SGD"),
    "quarter": (_quarter, "SGD"),
    "split": (lambda case: own_steps.rescaled(case, memory="split"), "SGD"),
    "quarter-split": (own_steps.ceiling, "AdamW"),
}
_BASELINES: tuple[Baseline, ...] = ("SGD", "AdamW")


def measure_size(
    size: Size, machine: str, store: Store[GrowthRow], told: Callable[[str], None], *, seconds: float, afresh: bool
) -> None:
    """Measure all variants on a size, unless the store has them.

    Every round takes each step once, the plain ones too, in an order that turns round from one to the next; parameters
    are put back before each. CPU time of the process is taken, which time spent waiting for a processor is no part of.

    Args:
        size: which.
        machine: as in the rows.
        store: gets the rows.
        told: is told in a line.
        seconds: how long the rounds may take; at least three are made.
        afresh: measure again what is in the store.
    """
    wanted = [GrowthKey(machine, size.depth, size.width, size.length, size.batch, name) for name in VARIANTS]
    if not afresh and set(wanted) <= store.keys():
        told(f"{size.name}: in the store")
        return
    keep_freed_memory()
    case = size.spec().build(torch.device("cpu"))
    again = keeper(case)
    steps: dict[str, Callable[[], None]] = {name: own_steps.plain(name, case) for name in _BASELINES}
    for name, (prepare, _) in VARIANTS.items():
        prepared = prepare(case)
        steps[name] = prepared.measured or prepared.step
    for step in steps.values():
        again()
        step()
    gc.collect()
    times = _rounds(steps, again, seconds)
    profiles = {name: execute(step, torch.device("cpu"), again) for name, step in steps.items()}
    again()
    at_revision = revision()
    rows = [
        _row(size, machine, name, times[name], times[plain], profiles[name], profiles[plain], at_revision)
        for name, (_, plain) in VARIANTS.items()
    ]
    store.append(*rows)
    told(f"{size.name}: {', '.join(f'{row.variant} {row.median:.2f}' for row in rows)}")


def _rounds(steps: dict[str, Callable[[], None]], again: Callable[[], None], seconds: float) -> dict[str, list[float]]:
    """CPU seconds of each step in each round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    done = 0
    while done < _FEWEST or (done < _MOST and time.perf_counter() < end):
        for name in list(steps)[:: 1 if done % 2 == 0 else -1]:
            again()
            start = time.process_time()
            steps[name]()
            times[name].append(time.process_time() - start)
        done += 1
    return times


def _row(
    size: Size,
    machine: str,
    variant: Variant,
    times: Sequence[float],
    plain_times: Sequence[float],
    done: Profile,
    plain: Profile,
    at_revision: str | None,
) -> GrowthRow:
    """The row of a variant."""
    ratios = [b / a for a, b in zip(plain_times, times, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return GrowthRow(
        machine, size.depth, size.width, size.length, size.batch, size.parameters, variant, len(ratios), low, median,
        high, statistics.median(plain_times), statistics.median(times), plain.products or 0, done.products or 0,
        plain.peak, done.peak, at_revision,
    )  # fmt: skip
