"""Jobs that write checkpoints through torch.distributed.checkpoint and go on from them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from tests.dist.cells import Cell, distance, flat, train

SAVED = [
    ("Auto", "FSDP2"),
    ("WindowedAdam", "FSDP2"),
    ("RescaledAdam", "FSDP2"),
    ("EGStepSize", "FSDP2"),
    ("LQA", "DDP"),
]

#: In which a process is killed, and the last checkpoint that is written before.
KILLED, LAST = Cell("RescaledAdam", "DDP", "float64", "plain"), "killed-4"


def save(folder: Path) -> None:
    """Train in each setting, and write a checkpoint of it."""
    for name, sharing in SAVED:
        cell = Cell(name, sharing, "float64", "plain")
        net, optimizer = train(cell, 4)
        write(net, optimizer, folder / f"{name}-{sharing}")


def resume(folder: Path) -> dict[str, Any]:
    """Load the checkpoints, train on, and compare with a run that was never ended."""
    found = {}
    for name, sharing in SAVED:
        cell = Cell(name, sharing, "float64", "plain")
        found[f"{name}, {sharing}"] = distance(*resumed(cell, folder / f"{name}-{sharing}"))
    return {**found, "before the end": distance(*resumed(KILLED, folder / LAST))}


def resumed(cell: Cell, folder: Path) -> tuple[Tensor, Tensor]:
    """Parameters after the seventh step: from a checkpoint after the fourth, and of one process from the beginning."""
    net, optimizer = train(cell, 0)
    read(net, optimizer, folder)
    net, _ = train(cell, 7, first=4, go_on=(net, optimizer))
    reference, _ = train(cell.alone(), 7)
    return flat(list(net.parameters())), flat(list(reference.parameters()))


def write(net: nn.Module, optimizer: Any, folder: Path) -> None:
    """Write a checkpoint."""
    model, state = get_state_dict(net, optimizer)
    dcp.save({"model": model, "optimizer": state}, checkpoint_id=folder)


def read(net: nn.Module, optimizer: Any, folder: Path) -> None:
    """Read a checkpoint into a model and an optimizer that were just made."""
    model, state = get_state_dict(net, optimizer)
    holder: dict[str, Any] = {"model": model, "optimizer": state}
    dcp.load(holder, checkpoint_id=folder)
    set_state_dict(net, optimizer, model_state_dict=holder["model"], optim_state_dict=holder["optimizer"])


def killed(folder: Path) -> dict[str, Any]:
    """Train with a checkpoint after every second step, until the last process is killed before it writes the third."""
    save(folder)
    made = train(KILLED, 0)
    for start in range(0, 20, 2):
        made = train(KILLED, start + 2, first=start, go_on=made)
        if start == 4 and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*made, folder / f"killed-{start + 2}")
    return {}
