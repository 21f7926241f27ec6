"""A campaign of the fuzzer that begins where the store ends and notes in it how far it came."""

from __future__ import annotations

from typing import Literal

import torch

from benchmarks.fuzz.row import LOOKED_AT, FuzzRow
from curvestep.bench.store import Store
from tests.fuzz.campaign import Campaign, Summary


def run(
    store: Store[FuzzRow],
    generator: Literal["chains", "layouts"],
    seed: int,
    engine: str,
    cases: int,
    hours: float,
    jobs: int,
) -> list[str]:
    """Run the cases that the store lacks; those of another engine or torch count as run, in a row of their own.

    Returns:
        The finds of this engine at which nobody has looked yet.
    """
    torch.set_default_dtype(torch.float64)
    same = [row for row in store.read() if (row.generator, row.seed) == (generator, seed)]
    last = max(same, key=lambda row: row.first, default=None)
    goes_on = last is not None and (last.engine, last.torch) == (engine, str(torch.__version__))
    first = 0 if last is None else last.first if goes_on else last.first + last.cases
    before = Summary.load(last.to_json()) if goes_on and last is not None else Summary(generator=generator, seed=seed)
    before.first, before.engine = first, engine
    campaign = Campaign(before, jobs, lambda found: store.append(FuzzRow(**found.json())))
    found = campaign.run(cases - first, 3600 * hours)
    return [name for name, find in found.failures.items() if (generator, seed, find["case"]) not in LOOKED_AT]
