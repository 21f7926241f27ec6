"""Measuring a selection, row by row, going on where an earlier run was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from benchmarks.overhead.measure import Clock, Known, measure
from benchmarks.overhead.row import PROCESSOR_TIME, Machine, OverheadKey, OverheadRow
from benchmarks.overhead.source_digest import digest
from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.environment import environment
from curvestep.bench.execute import torch_threads
from curvestep.bench.store import Store

if TYPE_CHECKING:
    from benchmarks.overhead.selection import Pair
    from benchmarks.overhead.variants import Variant

#: Which rows of the store are measured again: none; those whose source has changed or that were disturbed; all.
Again = Literal["none", "stale", "all"]


class Listener(Protocol):
    """Who watches."""

    def found(self, row: OverheadRow, *, stored: bool) -> None:
        """A row is in the store; it was there before, or has just been measured."""
        ...

    def left(self, rows: int) -> None:
        """Time is up, and so many rows are not measured yet."""
        ...


def is_stale(row: OverheadRow, variant: Variant) -> bool:
    """Whether what the variant runs is not what was measured, or other work was in the way of the measurement.

    Args:
        row: in the store.
        variant: of the row.

    Returns:
        Whether it should be measured again.
    """
    return row.source != digest(variant.depends) or row.disturbed


def measure_all(
    pairs: Sequence[Pair],
    store: Store[OverheadRow],
    machines: Store[Machine],
    listener: Listener,
    *,
    device: torch.device,
    seconds: float,
    threads: int | None = None,
    again: Again = "none",
    within: float | None = None,
    by_processor: bool = False,
) -> str:
    """Measure what is not in the store yet, row by row.

    Args:
        pairs: networks and variants, in the order in which they are measured.
        store: gets each row when it is measured.
        machines: gets this machine.
        listener: is told.
        device: where torch computes.
        seconds: how long the pairs of one row may take.
        threads: of torch; None for its own choice.
        again: which rows that are in the store are measured once more.
        within: seconds after which no further row is begun; None for no limit.
        by_processor: whether processor time is taken, of one thread; such rows are those of a machine of their own.

    Returns:
        The name of this machine in the rows.
    """
    end = None if within is None else time.monotonic() + within
    keep_freed_memory()
    with torch_threads(threads), _whole_float32():
        here = environment(str(device))
        machine = machine_name(here) + (PROCESSOR_TIME if by_processor else "")
        if pairs and Machine(machine, here) not in machines.read():
            machines.append(Machine(machine, here))
        present = {row.key: row for row in store.read()}
        known: dict[str, Known] = {}
        # The sizes around which others are varied are those of several rows.
        grown: dict[tuple[object, ...], OverheadRow] = {}
        left = 0
        for spec, variant in pairs:
            same = spec.network, spec.batch, spec.shape, variant.name
            row = present.get(OverheadKey(machine, spec.name, variant.name))
            stored = row is not None and again != "all" and not (again == "stale" and is_stale(row, variant))
            if not stored and spec.axis and same in grown:
                row = replace(grown[same], subject=spec.name, axis=spec.axis, value=spec.value)
                store.append(row)
            elif not stored and end is not None and time.monotonic() >= end:
                left += 1
                continue
            elif not stored:
                row = measure(
                    spec, variant, machine, Clock(device, seconds, by_processor), known.setdefault(spec.name, Known())
                )
                store.append(row)
            assert row is not None
            listener.found(row, stored=stored)
            if spec.axis:
                grown[same] = row
        if left:
            listener.left(left)
    return machine


@contextmanager
def _whole_float32() -> Iterator[None]:
    """float32 that is float32 on accelerators too, where convolutions else round their factors."""
    rounds = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = rounds


def machine_name(here: dict[str, Any]) -> str:
    """The accelerator, or the processor with the threads that were used."""
    if here["accelerator"]:
        return str(here["accelerator"])
    threads = here["threads"]
    return f"{here['processor']}, {threads} thread{'s' if threads > 1 else ''}"
