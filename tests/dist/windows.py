"""A window's end in several processes: the reading of one process on the whole batch, and one all-reduce for it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from tests.dist.cells import SHARINGS, distance, flat, make_batches, make_net, own_share, shared, unsynchronised
from tests.optim.windowed import WindowedAdam

_LENGTH = 3


def run(sharing: str, pieces: int, calls: int, length: int = _LENGTH, **numbers: float) -> tuple[nn.Module, Any, int]:
    """Train with windows of three steps; the all-reduces of the last call, which is to be a window's end."""
    net = shared(make_net("float64"), sharing)
    windows = {"window_growth": 1.0, "window_offset": length}
    optimizer = WindowedAdam(net.parameters(), weight_decay=1e-3, **windows, **numbers)  # pyright: ignore[reportArgumentType]
    if sharing == "one":
        optimizer.process_group = None
    batches, reduced = make_batches("float64"), 0
    for call in range(calls):
        inputs, targets = (own_share(part, sharing) for part in batches[call % len(batches)])
        looking = profile(activities=[ProfilerActivity.CPU]) if call == calls - 1 else nullcontext()
        with looking:
            for at, (x, t) in enumerate(zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True)):
                with unsynchronised(net, at == pieces - 1), optimizer.record():
                    (functional.cross_entropy(net(x), t) / pieces).backward()
            optimizer.step()
        if isinstance(looking, profile):
            reduced = sum(event.name == "c10d::allreduce_" for event in looking.events() or ())
        optimizer.zero_grad()
    return net, optimizer, reduced


def windows(folder: Path) -> dict[str, Any]:
    """The first reading against that of one process, and whether processes agree after three more windows."""
    del folder
    _, alone, _ = run("one", 1, _LENGTH + 1)
    expected = asdict(alone.last_window)
    found = {}
    for sharing in SHARINGS:
        for pieces in (1, 2):
            _, optimizer, reduced = run(sharing, pieces, _LENGTH + 1)
            reading = asdict(optimizer.last_window)
            error = max(abs(reading[n] - e) / max(abs(e), 1e-12) for n, e in expected.items())
            net, later, _ = run(sharing, pieces, 4 * (_LENGTH + 1))
            every: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(every, [asdict(later.last_window), later.param_groups[0]["rule_state"]])
            end = flat(list(net.parameters()))
            found[f"{sharing}, {pieces}"] = {
                "error": error,
                "equal": distance(end, end)["equal"] and all(each == every[0] for each in every),
                "reduced": reduced,
                "finite": math.isfinite(float(torch.linalg.vector_norm(end))),
            }
    return found


def trials(folder: Path) -> dict[str, Any]:
    """Steps that were far too long: where they are taken back, and how the run goes on, against one process."""
    del folder
    kept = {"length": 40, "first": 700.0}
    found = {}
    for calls in (11, 14):
        net, alone, _ = run("one", 1, calls, **kept)  # pyright: ignore[reportArgumentType]
        expected = flat(list(net.parameters()))
        for sharing in SHARINGS:
            for pieces in (1, 2):
                net, optimizer, _ = run(sharing, pieces, calls, **kept)  # pyright: ignore[reportArgumentType]
                found[f"{sharing}, {pieces}, {calls}"] = {
                    **distance(flat(list(net.parameters())), expected),
                    "outcomes": {o.name: n for o, n in optimizer.outcomes.items()},
                    "alone": {o.name: n for o, n in alone.outcomes.items()},
                }
    return found
