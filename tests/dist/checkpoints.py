"""Jobs that write checkpoints through torch.distributed.checkpoint and go on from them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from tests.dist.cells import SHARINGS, Cell, distance, flat, train

SAVED = [(name, sharing) for name in ("Auto", "RescaledAdam", "EGStepSize", "LQA") for sharing in SHARINGS]


def save(folder: Path) -> None:
    """Train in each setting, and write a checkpoint of it."""
    for name, sharing in SAVED:
        cell = Cell(name, sharing, "float64", "plain")
        net, optimizer = train(cell, 4)
        write(net, optimizer, folder / f"{name}-{sharing}")


def resume(folder: Path) -> dict[str, Any]:
    """Load the checkpoints in another number of processes, train on, and compare with a run that was never ended."""
    found = {}
    for name, sharing in SAVED:
        cell = Cell(name, sharing, "float64", "plain")
        net, optimizer = train(cell, 0)
        read(net, optimizer, folder / f"{name}-{sharing}")
        net, _ = train(cell, 7, first=4, go_on=(net, optimizer))
        reference, _ = train(cell.alone(), 7)
        found[f"{name}, {sharing}"] = distance(flat(list(net.parameters())), flat(list(reference.parameters())))
    return found


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
    cell = Cell("RescaledAdam", "DDP", "float64", "plain")
    made = train(cell, 0)
    for start in range(0, 20, 2):
        made = train(cell, start + 2, first=start, go_on=made)
        if start == 4 and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*made, folder / f"after-{start + 2}")
    return {}


def rescue(folder: Path) -> dict[str, Any]:
    """Go on from the last checkpoint that was written before a process was killed."""
    cell = Cell("RescaledAdam", "DDP", "float64", "plain")
    made = train(cell, 0)
    read(*made, folder / "after-4")
    net, _ = train(cell, 7, first=4, go_on=made)
    reference, _ = train(cell.alone(), 7)
    return {"the last checkpoint": distance(flat(list(net.parameters())), flat(list(reference.parameters())))}
