"""Measures what the stores of the growth lack."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.growth.measure import measure_size
from benchmarks.growth.plan import sizes
from benchmarks.growth.ranks import count_exchanges
from benchmarks.growth.row import ExchangeRow, GrowthRow
from benchmarks.overhead.row import Machine
from benchmarks.overhead.run import machine_name
from curvestep.bench.environment import environment
from curvestep.bench.execute import torch_threads
from curvestep.bench.store import Store


def measure_growth(
    store: Store[GrowthRow],
    exchanges: Store[ExchangeRow],
    machines: Store[Machine],
    told: Callable[[str], None],
    *,
    seconds: float,
    afresh: bool = False,
) -> None:
    """Count exchanges, then measure all sizes on one thread.

    Args:
        store: gets the rows of the sizes.
        exchanges: gets those of the exchanges.
        machines: gets this machine.
        told: is told in lines.
        seconds: for the rounds of a size.
        afresh: measure again what is stored.
    """
    count_exchanges(exchanges, told, afresh=afresh)
    with torch_threads(1):
        here = environment("cpu")
        machine = machine_name(here)
        if Machine(machine, here) not in machines.read():
            machines.append(Machine(machine, here))
        for size in sizes():
            measure_size(size, machine, store, told, seconds=seconds, afresh=afresh)
