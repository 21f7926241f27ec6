"""What one of several processes does in a test: `torchrun --nproc-per-node N -m tests.dist.worker JOB FOLDER`.

Jobs have a plus between them. Each ends with what its first process found, as JSON in the folder; the tests judge it.
`every_cell` is the whole table of settings with twenty steps in each, some minutes, printed as it goes.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

import curvestep
from tests.dist.cells import (
    LOOPS,
    OPTIMIZERS,
    PRECISIONS,
    SHARINGS,
    Cell,
    distance,
    flat,
    make_batches,
    make_net,
    own_share,
    shared,
    train,
)
from tests.dist.checkpoints import killed, resume
from tests.dist.odd import averages, carried, memory, odd, tensor_parallel
from tests.dist.windows import trials, windows

#: Of each optimizer that is in the matrix.
MATRIX = ("Auto", "RescaledSGD", "RescaledAdam", "LQA", "ALIG", "EGStepSize")


def compared(cell: Cell, steps: int) -> dict[str, Any]:
    """One setting against one process on the whole batch."""
    reference, _ = train(cell.alone(), steps)
    net, _ = train(cell, steps)
    return distance(flat(list(net.parameters())), flat(list(reference.parameters())))


# -- jobs -------------------------------------------------------------------------------------------------------------


def matrix(folder: Path) -> dict[str, Any]:
    """The settings of the default test run: under fully_shard only the first steps where the precision is lower."""
    del folder
    others = [name for name in OPTIMIZERS if name not in MATRIX]
    cells = [(Cell(name, sharing, "float64", "plain"), 10) for name in others for sharing in SHARINGS]
    for sharing, steps in zip(SHARINGS, (20, 3), strict=True):
        cells += [
            (Cell(name, sharing, precision, "accumulation and clipping"), 20 if precision == "float64" else steps)
            for name in MATRIX
            for precision in PRECISIONS
        ]
    return {f"{c.optimizer}, {c.sharing}, {c.precision}, {c.loop}": compared(c, steps) for c, steps in cells}


def every_cell(folder: Path) -> dict[str, Any]:
    """The whole table."""
    del folder
    found = {}
    for sharing in SHARINGS:
        for precision in PRECISIONS:
            for loop in LOOPS:
                for name in OPTIMIZERS:
                    found[f"{name}, {sharing}, {precision}, {loop}"] = one = compared(
                        Cell(name, sharing, precision, loop), 20
                    )
                    if dist.get_rank() == 0:
                        print(f"{name:32} {sharing:6} {precision:9} {loop:26} {one['error']:.1e} {one['equal']}")
    return found


def long(folder: Path) -> dict[str, Any]:
    """200 steps under DDP."""
    del folder
    name = "RescaledSGD" if dist.get_world_size() == 2 else "RescaledAdam"
    return {name: compared(Cell(name, "DDP", "float64", "plain"), 200)}


def counts(folder: Path) -> dict[str, list[int]]:
    """How many all-reduces a step takes in all, on the third and on the first window's end, or else the thirteenth."""
    del folder
    made: dict[str, Callable[[Any], Any]] = {"AdamW": torch.optim.AdamW, **OPTIMIZERS}
    found: dict[str, list[int]] = {}
    for name, make in made.items():
        net = shared(make_net("float64"), "DDP")
        optimizer = make(net.parameters())
        inputs, targets = (own_share(part, "DDP") for part in make_batches("float64")[0])
        found[name] = []
        ends = getattr(optimizer, "_ends_window", lambda: False)
        for step in range(13):
            looks = step == 2 or (len(found[name]) == 1 and (step == 12 or ends()))
            looking = profile(activities=[ProfilerActivity.CPU]) if looks else nullcontext()
            with looking:
                with getattr(optimizer, "record", torch.enable_grad)():
                    functional.cross_entropy(net(inputs), targets).backward()
                optimizer.step()
            if isinstance(looking, profile):
                found[name].append(sum(event.name == "c10d::allreduce_" for event in looking.events() or ()))
            optimizer.zero_grad()
    return found


def uneven(folder: Path) -> dict[str, Any]:
    """A last batch of which the processes have unequal shares, against their means in one process."""
    del folder
    rank, world = dist.get_rank(), dist.get_world_size()
    found = {}
    for sharing in SHARINGS:
        nets = {}
        for kind in (sharing, "one"):
            net = nets[kind] = shared(make_net("float64"), kind)
            optimizer = curvestep.RescaledAdam(net.parameters(), lr=0.3)
            if kind == "one":
                optimizer.process_group = None
            for step, (inputs, targets) in enumerate(make_batches("float64")):
                shares = [(inputs[5 * r : 5 * r + 5 - r * (step == 4)], targets[5 * r : 5 * r + 5 - r * (step == 4)])
                          for r in range(world)]  # fmt: skip
                for x, t in shares if kind == "one" else [shares[rank]]:
                    with optimizer.record():
                        loss = functional.cross_entropy(net(x), t) / (world if kind == "one" else 1)
                        loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        found[sharing] = distance(flat(list(nets[sharing].parameters())), flat(list(nets["one"].parameters())))
    return found


def not_finite(folder: Path) -> dict[str, Any]:
    """Numbers that are not finite in one process: data, and a curvature."""
    del folder
    found = {}
    for sharing in SHARINGS:
        for name in MATRIX:
            net = shared(make_net("float64"), sharing)
            optimizer = OPTIMIZERS[name](net.parameters())
            outcomes, moved = [], []
            for step, (inputs, targets) in enumerate(make_batches("float64")):
                x, t = own_share(inputs, sharing).clone(), own_share(targets, sharing)
                if step == 2 and dist.get_rank() == 1:
                    x[0, 0] = float("inf")
                before = flat(list(net.parameters()))
                with optimizer.record():
                    functional.cross_entropy(net(x), t).backward()
                optimizer.step()
                optimizer.zero_grad()
                outcomes.append(optimizer.last_step.outcome.name)
                moved.append(not torch.equal(before, flat(list(net.parameters()))))
            every: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(every, outcomes)
            last = flat(list(net.parameters()))
            found[f"{name}, {sharing}"] = {
                "outcomes": outcomes, "agree": all(each == outcomes for each in every), "moved": moved,
                **distance(last, last),
            }  # fmt: skip
    return found


def own_groups(folder: Path) -> dict[str, Any]:
    """Two groups of the user's own, each of which trains a model of its own."""
    del folder
    half = dist.get_world_size() // 2
    groups: list[Any] = [dist.new_group(list(range(k * half, (k + 1) * half))) for k in range(2)]
    mine = dist.get_rank() // half
    group = groups[mine]
    at = dist.get_rank(group)
    nets = []
    for is_alone in (False, True):
        net: nn.Module = make_net("float64")
        if not is_alone:
            net = DistributedDataParallel(net, process_group=group)
        optimizer = curvestep.EGStepSize(curvestep.RescaledAdam(net.parameters(), lr=0.3))
        optimizer.process_group = None if is_alone else group
        for inputs, targets in make_batches("float64"):
            x, t = inputs[mine::2], targets[mine::2]
            with optimizer.record():
                shares = (x, t) if is_alone else (x.chunk(half)[at], t.chunk(half)[at])
                functional.cross_entropy(net(shares[0]), shares[1]).backward()
            optimizer.step()
            optimizer.zero_grad()
        nets.append(flat(list(net.parameters())))
    error = float((nets[0] - nets[1]).norm() / nets[1].norm())
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, error)
    return {"errors": every}


def refusals(folder: Path) -> dict[str, str]:
    """What is refused in several processes, and the sentences."""
    del folder
    found = {}
    inputs, targets = make_batches("float64")[0]
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(torch.float64)
    net = parallelize_module(model, init_device_mesh("cpu", (2,)), {"0": ColwiseParallel(), "2": RowwiseParallel()})
    for name in ("Auto", "LQA"):
        optimizer = OPTIMIZERS[name](net.parameters())
        found[f"{name}, tensor parallel"] = _sentence(optimizer, net, inputs, targets)
    net = shared(make_net("float64"), "FSDP2")
    for name in ("RescaledSGD", "ALIG", "EGStepSize"):
        optimizer = OPTIMIZERS[name](net.parameters())
        optimizer.process_group = None
        found[f"{name}, alone with shards"] = _sentence(optimizer, net, inputs, targets)
    return found


def _sentence(optimizer: Any, net: nn.Module, inputs: Tensor, targets: Tensor) -> str:
    try:
        with optimizer.record():
            functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    except curvestep.CurvestepError as refusal:
        return str(refusal)
    finally:
        optimizer.zero_grad()
    return ""


JOBS: dict[str, Callable[[Path], dict[str, Any]]] = {
    job.__name__: job
    for job in (
        matrix,
        every_cell,
        long,
        counts,
        uneven,
        not_finite,
        averages,
        carried,
        tensor_parallel,
        memory,
        odd,
        own_groups,
        refusals,
        resume,
        killed,
        trials,
        windows,
    )
}


def main() -> None:
    """Run the jobs that are named, several with a plus between them."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = Path(sys.argv[2])
    dist.init_process_group("gloo")
    for name in sys.argv[1].split("+"):
        found = JOBS[name](folder)
        if dist.get_rank() == 0:
            (folder / f"{name}.json").write_text(json.dumps(found))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # threads of gloo's groups now and then abort a Python that tears them down


if __name__ == "__main__":
    main()
