"""Measuring a selection, row by row, going on where an earlier run was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.environment import environment
from curvestep.bench.overhead.measure import Clock, Known, measure
from curvestep.bench.overhead.row import Row, RowStore
from curvestep.bench.overhead.source import digest

if TYPE_CHECKING:
    from curvestep.bench.overhead.plan import Pair
    from curvestep.bench.overhead.ways import Way

#: Which rows of the store are measured again: none; those whose source has changed or that were disturbed; all.
Again = Literal["none", "stale", "all"]


class Listener(Protocol):
    """Who watches."""

    def found(self, row: Row, *, stored: bool) -> None:
        """A row is in the store; it was there before, or has just been measured."""
        ...

    def left(self, rows: int) -> None:
        """Time is up, and so many rows are not measured yet."""
        ...


def is_stale(row: Row, way: Way) -> bool:
    """Whether what the way runs is not what was measured, or other work was in the way of the measurement.

    Args:
        row: in the store.
        way: of the row.

    Returns:
        Whether it should be measured again.
    """
    return row.source != digest(way.depends) or row.disturbed


def measure_all(
    pairs: Sequence[Pair],
    store: RowStore,
    listener: Listener,
    *,
    device: torch.device,
    seconds: float,
    threads: int | None = None,
    again: Again = "none",
    within: float | None = None,
) -> str:
    """Measure what is not in the store yet, row by row.

    Args:
        pairs: networks and ways, in the order in which they are measured.
        store: gets each row when it is measured.
        listener: is told.
        device: where torch computes.
        seconds: how long the pairs of one row may take.
        threads: of torch; None for its own choice.
        again: which rows that are in the store are measured once more.
        within: seconds after which no further row is begun; None for no limit.

    Returns:
        The name of this machine in the rows.
    """
    end = None if within is None else time.monotonic() + within
    keep_freed_memory()
    with _settings(threads):
        here = environment(str(device))
        machine = machine_name(here)
        present = {row.key: row for row in store.read()}
        known: dict[str, Known] = {}
        grown: dict[tuple[object, ...], Row] = {}  # the sizes around which others are varied are those of several rows
        left = 0
        for spec, way in pairs:
            same = spec.network, spec.batch, spec.shape, way.name
            row = present.get((machine, spec.name, way.name))
            stored = row is not None and again != "all" and not (again == "stale" and is_stale(row, way))
            if not stored and spec.axis and same in grown:
                row = replace(grown[same], subject=spec.name, axis=spec.axis, value=spec.value)
                store.append(row, here)
            elif not stored and end is not None and time.monotonic() >= end:
                left += 1
                continue
            elif not stored:
                row = measure(spec, way, machine, Clock(device, seconds), known.setdefault(spec.name, Known()))
                store.append(row, here)
            assert row is not None
            listener.found(row, stored=stored)
            if spec.axis:
                grown[same] = row
        if left:
            listener.left(left)
    return machine


@contextmanager
def _settings(threads: int | None) -> Iterator[None]:
    """So many threads; float32 that is float32 on accelerators too, where convolutions round their factors else."""
    before, rounds = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.allow_tf32 = rounds


def machine_name(here: dict[str, Any]) -> str:
    """The accelerator, or the processor with the threads that were used."""
    if here["accelerator"]:
        return str(here["accelerator"])
    threads = here["threads"]
    return f"{here['processor']}, {threads} thread{'s' if threads > 1 else ''}"
