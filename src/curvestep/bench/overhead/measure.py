"""The overhead of one way on one network: interleaved times, peaks, products."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final

import torch
from torch import Tensor

import curvestep
from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.environment import environment, revision
from curvestep.bench.overhead.executed import Executed, execute
from curvestep.bench.overhead.peers import NotApplicable
from curvestep.bench.overhead.row import Row, RowStore
from curvestep.bench.overhead.ways import Prepared, Way, plain
from curvestep.diagnostics.products import count_products

if TYPE_CHECKING:
    from curvestep.bench.overhead.subjects import Subject, SubjectSpec
    from curvestep.diagnostics.diagnosis import Products

_FEWEST, _MOST = 3, 101


class Listener(Protocol):
    """Who watches."""

    def found(self, row: Row, *, stored: bool) -> None:
        """A row is in the store; it was there before, or has just been measured."""
        ...


@final
@dataclass(frozen=True)
class Clock:
    """Times runs on a device.

    Args:
        device: waited for before each reading.
        seconds: how long the pairs of one row may take; at least three are timed.
    """

    device: torch.device
    seconds: float

    def time(self, run: Callable[[], None], times: int = 1) -> float:
        """Seconds of one of so many runs in a row."""
        self._wait()
        start = time.perf_counter()
        for _ in range(times):
            run()
        self._wait()
        return (time.perf_counter() - start) / times

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def pairs(
        self, first: Callable[[], None], second: Prepared, again: Callable[[], None]
    ) -> tuple[list[float], list[float]]:
        """Times of the plain step and of the way, in turn, the one that comes first alternating.

        Args:
            first: the plain step.
            second: the way.
            again: puts everything back, outside the clock.

        Returns:
            Seconds of each, pair by pair.
        """
        plain_times: list[float] = []
        times: list[float] = []
        end = time.perf_counter() + self.seconds
        while len(times) < _FEWEST or (len(times) < _MOST and time.perf_counter() < end):
            for turn in (0, 1) if len(times) % 2 == 0 else (1, 0):
                again()
                if turn == 0:
                    plain_times.append(self.time(first))
                else:
                    times.append(self.time(second.step, second.period))
        return plain_times, times


def measure(spec: SubjectSpec, way: Way, machine: str, clock: Clock, plains: dict[tuple[str, str], Executed]) -> Row:
    """One row.

    Args:
        spec: network and batch.
        way: of taking a step.
        machine: as in the row.
        clock: how it is timed.
        plains: what plain steps do, by network and optimizer; added to.

    Returns:
        The row; where the way does not apply, one that says why.
    """
    said: dict[str, Any] = {
        "machine": machine,
        "subject": spec.name,
        "method": way.name,
        "gives": way.gives,
        "baseline": way.baseline,
        "axis": spec.axis,
        "value": spec.value,
        "revision": revision(),
    }
    subject = spec.build(clock.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, and of batches that mix: tables say what they cost
        first = plain(way.baseline, subject)
        again = _keeper(subject)
        try:
            prepared = way.prepare(subject)
            for _ in range(prepared.warmup):
                prepared.step()
        except NotApplicable as reason:
            return Row(**said, skipped=str(reason))
        except torch.cuda.OutOfMemoryError:
            return Row(**said, skipped="does not fit into the memory of the device")
        except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
            return Row(**said, skipped=f"{type(error).__name__}: {_first_line(error)}")
        again()
        first()
        gc.collect()
        plain_times, times = clock.pairs(first, prepared, again)
        ratios = [b / a for a, b in zip(plain_times, times, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")

        def block() -> None:
            for _ in range(prepared.period):
                prepared.step()

        # Put back before each: gradients that are still held would be freed inside, and hide as much of the peak.
        done = execute(block, clock.device, again)
        plainly = plains.get((spec.name, way.baseline))
        if plainly is None:
            plainly = plains[spec.name, way.baseline] = execute(first, clock.device, again)
        products = None
        if done.products is not None and plainly.products:
            products = done.products / (prepared.period * plainly.products)
        predicted = way.predicted(products_of(subject)) if way.predicted is not None else None
    return Row(
        **said,
        pairs=len(ratios),
        low=low,
        median=median,
        high=high,
        memory=done.peak / plainly.peak,
        products=products,
        predicted=predicted,
        plain_seconds=statistics.median(plain_times),
    )


def products_of(subject: Subject) -> Products:
    """What `curvestep.doctor` counts on the subject's own loss."""
    for p in subject.parameters:
        p.grad = None
    with curvestep.record() as tape:
        subject.loss().backward()
    moving = {tape.leaves[id(p)][1] for p in subject.parameters if id(p) in tape.leaves}
    found = count_products(tape, tape.plan, moving)
    tape.release()
    return found


def _keeper(subject: Subject) -> Callable[[], None]:
    """Put parameters and buffers back to what they are now, so that every repetition does the same work."""
    tensors: list[Tensor] = [p.detach() for p in subject.parameters]
    tensors += list(subject.network.buffers())
    kept = [tensor.clone() for tensor in tensors]

    def again() -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
        for p in subject.parameters:
            p.grad = None

    return again


def _first_line(error: BaseException) -> str:
    """The first line of a message, at most 160 characters of it."""
    line = str(error).strip().partition("\n")[0]
    return line if len(line) <= 160 else f"{line[:157]}..."


def measure_all(
    specs: Sequence[SubjectSpec],
    ways: Iterable[Way],
    store: RowStore,
    listener: Listener,
    *,
    device: torch.device,
    seconds: float,
    threads: int | None = None,
    afresh: bool = False,
) -> str:
    """Measure what is not in the store yet, row by row.

    Args:
        specs: networks.
        ways: of taking a step.
        store: gets each row when it is measured.
        listener: is told.
        device: where torch computes.
        seconds: how long the pairs of one row may take.
        threads: of torch; None for its own choice.
        afresh: measure rows again that are in the store.

    Returns:
        The name of this machine in the rows.
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        here = environment(str(device))
        machine = machine_name(here)
        present = {} if afresh else {row.key: row for row in store.read()}
        chosen = list(ways)
        plains: dict[tuple[str, str], Executed] = {}
        for spec in specs:
            for way in chosen:
                held = present.get((machine, spec.name, way.name))
                if held is None:
                    row = measure(spec, way, machine, Clock(device, seconds), plains)
                    store.append(row, here)
                    listener.found(row, stored=False)
                else:
                    listener.found(held, stored=True)
    finally:
        torch.set_num_threads(before)
    return machine


def machine_name(here: dict[str, Any]) -> str:
    """The accelerator, or the processor with the threads that were used."""
    if here["accelerator"]:
        return str(here["accelerator"])
    threads = here["threads"]
    return f"{here['processor']}, {threads} thread{'s' if threads > 1 else ''}"
