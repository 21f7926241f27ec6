"""What two processes exchange in one step: counted where gloo reports it."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import curvestep
from benchmarks.growth.plan import SHARED, Sharing, Size
from benchmarks.growth.row import ExchangeRow
from curvestep.bench.environment import revision
from curvestep.bench.measure import cross_entropy
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.bench.store import Store

_PROCESSES = 2
_SHARINGS: tuple[Sharing, ...] = ("ddp", "fully_shard")
_BYTES = {"float": 4, "double": 8}


def _exchanged(step: Callable[[], object]) -> Counter[str]:
    """Collectives of a step and their bytes, as gloo reports them to torch's profiler.

    Dispatch modes do not see all of them: passes over a recording switch modes off. gloo makes a reduce-scatter out of
    an all-reduce, which is not counted as one.

    Returns:
        Number and bytes by kind.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as seen:
        step()
    events: Any = seen.profiler
    counts: Counter[str] = Counter()
    for event in events.kineto_results.events():
        name: str = event.name()
        if name == "gloo:all_gather":
            _add(counts, "gathered", _PROCESSES * _size(event, 0))
        elif name == "gloo:all_reduce":
            _add(counts, "reduced", _size(event, 0))
        elif name == "c10d::_reduce_scatter_base_":
            _add(counts, "scattered", _size(event, 1))
            _add(counts, "reduced", -_size(event, 1), -1)
    return counts


def _add(counts: Counter[str], kind: str, size: int, number: int = 1) -> None:
    counts[kind] += number
    counts[f"{kind}_bytes"] += size


def _size(event: Any, place: int) -> int:
    """Bytes of an argument."""
    return math.prod(event.shapes()[place]) * _BYTES[event.dtypes()[place]]


def count_exchanges(store: Store[ExchangeRow], told: Callable[[str], None], *, afresh: bool = False) -> None:
    """Count what the store lacks, in two processes on this machine.

    Args:
        store: gets the rows.
        told: is told in a line a size.
        afresh: count again what is in the store.
    """
    import torch.multiprocessing as multiprocessing

    keys = (
        frozenset() if afresh else {(key[0], key[1], key[2]) for key in map(tuple, (row.key for row in store.read()))}
    )
    for sharing in _SHARINGS:
        for size in SHARED:
            if (sharing, size.depth, size.width) in keys:
                continue
            with tempfile.TemporaryDirectory() as folder:
                multiprocessing.spawn(_process, (sharing, size, folder), nprocs=_PROCESSES)  # pyright: ignore
                found = json.loads((Path(folder) / "found.json").read_text(encoding="utf-8"))
            rows = [_row(sharing, size, step, counts) for step, counts in found.items()]
            store.append(*rows)
            told(f"{sharing}, {size.name}: {', '.join(f'{row.step} {row.reduced} all-reduces' for row in rows)}")


def _row(sharing: Sharing, size: Size, step: str, counts: dict[str, int]) -> ExchangeRow:
    numbers = {
        f"{kind}{end}": counts.get(f"{kind}{end}", 0)
        for kind in ("reduced", "gathered", "scattered")
        for end in ("", "_bytes")
    }
    return ExchangeRow(
        sharing, size.depth, size.width, size.length, size.batch, size.parameters, step, **numbers, revision=revision()
    )


def _process(rank: int, sharing: Sharing, size: Size, folder: str) -> None:
    """One of the processes; the first one leaves what it counted."""
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=_PROCESSES)
    try:
        found = {step: dict(_counted(sharing, size, step, rank)) for step in ("plain", "whole", "quarter-split")}
        if rank == 0:
            (Path(folder) / "found.json").write_text(json.dumps(found), encoding="utf-8")
    finally:
        dist.destroy_process_group()


def _counted(sharing: Sharing, size: Size, step: str, rank: int) -> Counter[str]:
    """The collectives of the third step."""
    case = size.spec().build(torch.device("cpu"))
    network: nn.Module = case.network
    if sharing == "ddp":
        network = DistributedDataParallel(network)
    else:
        from torch.distributed.fsdp import fully_shard

        blocks: Any = network.blocks
        for block in blocks:
            fully_shard(block)
        fully_shard(network)
    half = slice(rank * size.batch // 2, (rank + 1) * size.batch // 2)
    inputs, targets = case.inputs[half], case.targets[half]
    optimizer = _optimizer(step, network)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = cross_entropy(network(inputs), targets)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return _exchanged(lambda: optimizer.step(closure))


def _optimizer(step: str, network: nn.Module) -> torch.optim.Optimizer:
    """By the name of the step; CeilingAdam measures each of its first ten."""
    parameters = list(network.parameters())
    if step == "plain":
        return torch.optim.SGD(parameters, lr=1e-3)
    return curvestep.RescaledSGD(parameters) if step == "whole" else CeilingAdam(parameters)
