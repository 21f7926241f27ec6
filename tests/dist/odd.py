"""A model that shares a weight, freezes another and uses a layer twice, under the kinds of `fully_shard` there are."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn import functional

import curvestep
from curvestep._shards import local, piece_of, whole
from curvestep.engine.passes import replay
from tests.dist.cells import OPTIMIZERS, Cell, distance, flat, make_batches, make_net, own_share, train


class Odd(nn.Module):
    """Words in, the first of them out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.twice, self.frozen, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6)
        self.frozen.requires_grad_(False)
        self.norm.requires_grad_(False)
        self.out = nn.Linear(6, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        """The logits of each sample."""
        hidden = torch.tanh(self.twice(self.norm(self.embedding(words))))
        hidden = hidden + self.frozen(hidden)
        return self.out(torch.tanh(self.twice(hidden)).mean(1))


def _on_a_plane() -> dict[str, Any]:
    """Shards within halves of the processes, copies between them."""
    return {"mesh": init_device_mesh("cpu", (2, dist.get_world_size() // 2), mesh_dim_names=("copies", "shards"))}


#: What `fully_shard` is given.
ODD: dict[str, Callable[[], dict[str, Any]]] = {
    "fully_shard": dict,
    "kept gathered after the forward": lambda: {"reshard_after_forward": False},
    "hybrid": _on_a_plane,
    "float32 in the forward": lambda: {"mp_policy": MixedPrecisionPolicy(param_dtype=torch.float32)},
    "offloaded": lambda: {"offload_policy": CPUOffloadPolicy(pin_memory=False)},
    "some parameters whole": dict,
}


def train_odd(name: str) -> Tensor:
    """Six steps, attached; the parameters after them. "one" is a process on its own."""
    torch.manual_seed(1)
    model = Odd().to(torch.float64)
    sharing = "one" if name == "one" else "FSDP2"
    if sharing != "one":
        options = ODD[name]()
        fully_shard(model.twice, **options)
        if name == "some parameters whole":
            options["ignored_params"] = {*model.norm.parameters(), *model.frozen.parameters()}
        else:
            fully_shard(model.frozen, **options)
        fully_shard(model, **options)
    optimizer = curvestep.RescaledAdam([p for p in model.parameters() if p.requires_grad], lr=0.3, guard_every=2)
    if sharing == "one":
        optimizer.process_group = None
    curvestep.attach(model, optimizer)
    generator = torch.Generator().manual_seed(2)
    for _ in range(6):
        words = own_share(torch.randint(7, (32, 4), generator=generator), sharing)
        functional.cross_entropy(model(words), words[:, 0]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return flat(list(model.parameters()))


def odd(folder: Path) -> dict[str, Any]:
    """Kinds of `fully_shard` and of models that are out of the ordinary, against one process."""
    del folder
    # Two processes have no plane to lie on, and four are there for it.
    names = [name for name in ODD if (name == "hybrid") == (dist.get_world_size() == 4)]
    return {name: distance(train_odd(name), train_odd("one")) for name in names}


class Tall(nn.Module):
    """A net to be computed in shards, whose norm's gradient is left as a sum that is still to be taken."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down, self.out = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits of each sample."""
        return self.out(self.down(torch.tanh(self.up(self.norm(inputs)))).mean(1))


def tensor_parallel(folder: Path) -> dict[str, Any]:
    """Optimizers that measure nothing on the recording, where the forward computes in shards."""
    del folder
    how = {
        "norm": SequenceParallel(), "up": ColwiseParallel(input_layouts=Shard(1)), "down": RowwiseParallel(),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(8, 4, 6, generator=generator, dtype=torch.float64)
    found = {}
    for name in ("ALIG", "EGStepSize"):
        ends = []
        for is_alone in (False, True):
            torch.manual_seed(6)
            net = Tall().to(torch.float64)
            if not is_alone:
                parallelize_module(net, init_device_mesh("cpu", (dist.get_world_size(),)), how)
            optimizer = OPTIMIZERS[name](net.parameters())
            if is_alone:
                optimizer.process_group = None
            for _ in range(4):
                with optimizer.record():
                    functional.cross_entropy(net(inputs), torch.arange(8) % 4).backward()
                optimizer.step()
                optimizer.zero_grad()
            ends.append(flat(list(net.parameters())))
        found[name] = distance(*ends)
    return found


def averages(folder: Path) -> dict[str, Any]:
    """What a net under fully_shard gives with averaged weights, between evaluations without a backward."""
    del folder
    seen: dict[str, list[Tensor]] = {"FSDP2": [], "one": []}
    for sharing, outputs in seen.items():
        net = make_net("float64")
        if sharing != "one":
            fully_shard(net)
        optimizer = curvestep.RescaledAdam(net.parameters(), lr=0.3, averaging=8.0)
        if sharing == "one":
            optimizer.process_group = None
        for inputs, targets in make_batches("float64"):
            with optimizer.record():
                functional.cross_entropy(net(own_share(inputs, sharing)), own_share(targets, sharing)).backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                outputs.append(net(inputs))
                with optimizer.averaged():
                    outputs.append(net(inputs))
                outputs.append(net(inputs))
    return {"outputs": distance(*[torch.stack(outputs) for outputs in seen.values()])}


def carried(folder: Path) -> dict[str, Any]:
    """A state_dict of one process, whole, in an optimizer of shards, and the other way round."""
    del folder
    found = {}
    for first, second in (("FSDP2", "one"), ("one", "FSDP2")):
        cell = Cell("RescaledAdam", first, "float64", "plain")
        net, optimizer = train(cell, 3)
        other, fresh = train(replace(cell, sharing=second), 0)
        with torch.no_grad():
            for own, new in zip(net.parameters(), other.parameters(), strict=True):
                local(new).copy_(piece_of(whole(own.detach()), new))
        fresh.load_state_dict(optimizer.state_dict())
        other, _ = train(replace(cell, sharing=second), 6, first=3, go_on=(other, fresh))
        reference, _ = train(cell.alone(), 6)
        found[f"{first} to {second}"] = distance(flat(list(other.parameters())), flat(list(reference.parameters())))
    return found


def memory(folder: Path) -> dict[str, int]:
    """How many gathered numbers a pass holds at most, in a net of eight equal layers under fully_shard."""
    del folder
    layers = [nn.Linear(32, 32, dtype=torch.float64) for _ in range(8)]
    net = nn.Sequential(*[module for layer in layers for module in (layer, nn.Tanh())])
    for layer in layers:
        fully_shard(layer)
    fully_shard(net)
    optimizer = curvestep.RescaledSGD(net.parameters(), lr=0.1)
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def looked_at(tensor: Tensor) -> Tensor:
        nonlocal most
        found = whole(tensor)
        alive.append(weakref.ref(found))
        most = max(most, sum(held.numel() for reference in alive if (held := reference()) is not None))
        return found

    with optimizer.record():
        net(own_share(torch.randn(8, 32, dtype=torch.float64), "FSDP2")).square().mean().backward()
    replay.whole = looked_at
    try:
        optimizer.step()
    finally:
        replay.whole = whole
    return {"most": most, "layer": 32 * 33, "gathered": len(alive)}
