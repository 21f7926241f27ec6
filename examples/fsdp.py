"""Sharded training: each of two processes holds a part of every parameter and of the optimizer's state.

    torchrun --nproc-per-node 2 examples/fsdp.py      # NCCL where there are GPUs, gloo on the CPU

A measured step gathers weights and directions layer by layer and takes the step of one process on the whole batch. At
the end the run is saved with torch.distributed.checkpoint and loaded into a fresh model. Synthetic data; about twenty
seconds on one core, of which most is the start of two processes.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

import curvestep

BATCH = 64


def build(device: torch.device) -> tuple[nn.Sequential, curvestep.RescaledAdam]:
    """A sharded model and its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1)).to(device)
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    return model, curvestep.RescaledAdam(model.parameters(), lr=0.5)


def main(arguments: list[str] | None = None) -> float:
    """Train, save, load into a fresh model, compare, and return the loss."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=200)
    steps = options.parse_args(arguments).steps
    if "RANK" not in os.environ:
        raise SystemExit("Launch it by torchrun --nproc-per-node 2 examples/fsdp.py: one process has nothing to share.")

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    model, optimizer = build(device)
    features = torch.randn(2048, 20, device=device, generator=torch.Generator(device).manual_seed(1))
    values = torch.sin(features).sum(1, keepdim=True)

    for step in range(steps):
        # The same permutation everywhere; each process takes its own share of it.
        batch = torch.randperm(len(features), generator=torch.Generator().manual_seed(step))[:BATCH][rank::size]
        optimizer.zero_grad()
        with optimizer.record():
            loss = F.mse_loss(model(features[batch]), values[batch])
            loss.backward()
        optimizer.step()
        if rank == 0 and step % 50 == 49:
            print(f"step {step + 1}: step size {optimizer.param_groups[0]['effective_lr']:.3g}")
    with torch.no_grad():
        loss = F.mse_loss(model(features), values).item()

    folder = [tempfile.mkdtemp() if rank == 0 else ""]
    dist.broadcast_object_list(folder, src=0)
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder[0])
    other, fresh = build(device)
    weights, state = get_state_dict(other, fresh)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=folder[0])
    set_state_dict(other, fresh, model_state_dict=weights, optim_state_dict=state)
    with torch.no_grad():
        assert F.mse_loss(other(features), values).item() == loss, "the checkpoint has other parameters"
    if rank == 0:
        print(
            f"loss {loss:.4f} on {size} processes, each with its part of the parameters; the checkpoint gives them back"
        )
    dist.barrier()  # the first to leave would take the store with it
    dist.destroy_process_group()
    return loss


if __name__ == "__main__":
    main()
