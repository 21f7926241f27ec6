"""The table of settings in which several processes train: optimizers, ways to share a model, precisions, loops.

One function trains in all of them, with one process on the whole batch too, which is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import curvestep
from tests.optim.windowed import WindowedAdam, short_auto

#: Samples of a batch: one, two, three or four processes, two micro-batches in each, and a quarter of each divide it.
BATCH = 96

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "Auto": short_auto,
    "WindowedAdam": lambda params: WindowedAdam(params, weight_decay=1e-3, window_growth=1.0, window_offset=3),
    "RescaledSGD": lambda params: curvestep.RescaledSGD(params, lr=0.5, weight_decay=1e-3),
    "RescaledAdam": lambda params: curvestep.RescaledAdam(params, lr=0.3, curvature_samples=0.25, averaging=8.0),
    "LQA": lambda params: curvestep.LQA(params, lr=0.3, weight_decay=1e-3, initial_step=0.1),
    "ALIG": lambda params: curvestep.ALIG(params, cap=0.5, momentum=0.5, max_norm=8.0),
    "EGStepSize": lambda params: curvestep.EGStepSize(torch.optim.AdamW(params, lr=0.01)),
    "EGStepSize around RescaledAdam": lambda params: curvestep.EGStepSize(curvestep.RescaledAdam(params, lr=0.3)),
    "StepTunedSGD": lambda params: curvestep.StepTunedSGD(params, 0.2),
}

SHARINGS = ("DDP", "FSDP2")
PRECISIONS = ("float64", "float32", "bfloat16", "float16")
LOOPS = ("plain", "accumulation", "clipping", "accumulation and clipping")


@dataclass(frozen=True)
class Cell:
    """One setting."""

    optimizer: str
    sharing: str  # one of SHARINGS, or "one" for a process on its own
    precision: str
    loop: str

    def alone(self) -> Cell:
        """The same in one process."""
        return Cell(self.optimizer, "one", self.precision, self.loop)


def make_net(precision: str) -> nn.Sequential:
    """A net whose sizes no number of processes divides."""
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator))
    return net.to(torch.float64 if precision == "float64" else torch.float32)


def make_batches(precision: str) -> list[tuple[Tensor, Tensor]]:
    """Five batches that can be learnt, whole."""
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(5, BATCH, 5, generator=generator, dtype=torch.float64)
    targets = (inputs[..., :3] + 0.5 * torch.randn(5, BATCH, 3, generator=generator, dtype=torch.float64)).argmax(-1)
    return list(zip(inputs.to(torch.float64 if precision == "float64" else torch.float32), targets, strict=True))


def shared(net: nn.Sequential, sharing: str) -> nn.Module:
    """The net as its processes share it."""
    if sharing == "DDP":
        return DistributedDataParallel(net)
    if sharing == "FSDP2":
        for module in net:
            if isinstance(module, nn.Linear):
                fully_shard(module)
        fully_shard(net)
    return net


def own_share(whole: Tensor, sharing: str) -> Tensor:
    """The samples of this process."""
    return whole if sharing == "one" else whole.chunk(dist.get_world_size())[dist.get_rank()]


def unsynchronised(net: nn.Module, is_last: bool) -> AbstractContextManager[Any]:
    """Hold the exchange of gradients back until the last micro-batch."""
    if isinstance(net, FSDPModule):
        net.set_requires_gradient_sync(is_last)
    return nullcontext() if is_last or not isinstance(net, DistributedDataParallel) else net.no_sync()


def train(
    cell: Cell, steps: int, *, first: int = 0, go_on: tuple[nn.Module, Any] | None = None
) -> tuple[nn.Module, Any]:
    """Train in one setting up to a number of steps, from the first one or with what has been trained before."""
    net = shared(make_net(cell.precision), cell.sharing) if go_on is None else go_on[0]
    optimizer = OPTIMIZERS[cell.optimizer](net.parameters()) if go_on is None else go_on[1]
    if cell.sharing == "one":
        optimizer.process_group = None
    batches = make_batches(cell.precision)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0) if cell.precision == "float16" else None
    for step in range(first, steps):
        inputs, targets = (own_share(part, cell.sharing) for part in batches[step % len(batches)])
        pieces = 2 if "accumulation" in cell.loop and cell.sharing != "one" else 1
        for at, (x, t) in enumerate(zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True)):
            with unsynchronised(net, at == pieces - 1), optimizer.record(scaler=scaler):
                with autocast(cell.precision):
                    loss = functional.cross_entropy(net(x), t) / pieces
                (loss if scaler is None else scaler.scale(loss)).backward()
        if "clipping" in cell.loop:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
    return net, optimizer


def autocast(precision: str) -> AbstractContextManager[Any]:
    """16 bits for products, where the precision is one of those."""
    if precision in ("bfloat16", "float16"):
        return torch.autocast("cpu", dtype=getattr(torch, precision))
    return nullcontext()


def flat(parameters: Sequence[Tensor]) -> Tensor:
    """All parameters in one row, whole."""
    from curvestep._shards import whole

    return torch.cat([whole(parameter.detach()).reshape(-1) for parameter in parameters])


def distance(found: Tensor, reference: Tensor) -> dict[str, Any]:
    """How far parameters are from a reference, relative to it, and whether all processes have the same."""
    every = [torch.empty_like(found) for _ in range(dist.get_world_size())]
    dist.all_gather(every, found)
    return {
        "error": float((found - reference).norm() / reference.norm()),
        "equal": all(torch.equal(each, found) for each in every),
    }
