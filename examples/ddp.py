"""Data parallel training: two processes, each with its share of the batch, take the step of the whole batch.

    torchrun --nproc-per-node 2 examples/ddp.py      # NCCL where there are GPUs, gloo on the CPU
    python examples/ddp.py                           # the same on one process

Losses, slopes and curvatures are averaged over the processes in one all-reduce a measured step, so every process takes
the same step, bit for bit; nothing has to be configured. Synthetic data; about fifteen seconds on one core, of which
most is the start of two processes.
"""

from __future__ import annotations

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import curvestep

BATCH = 64


def main(arguments: list[str] | None = None) -> float:
    """Train, check that all processes hold the same parameters, and return the loss."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=200)
    steps = options.parse_args(arguments).steps

    launched = "RANK" in os.environ  # by torchrun
    cuda = torch.cuda.is_available()
    if launched:
        dist.init_process_group("nccl" if cuda else "gloo")
    rank, size = (dist.get_rank(), dist.get_world_size()) if launched else (0, 1)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")

    torch.manual_seed(0)
    features = torch.randn(2048, 20, device=device)
    values = torch.sin(features).sum(1, keepdim=True)
    model: nn.Module = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1)).to(device)
    if launched:
        model = DistributedDataParallel(model, device_ids=[device.index] if cuda else None)
    optimizer = curvestep.Auto(model.parameters())
    curvestep.attach(model, optimizer)  # to the wrapper: its forward is the one that is trained on

    for step in range(steps):
        # The same permutation everywhere; each process takes its own share of it.
        batch = torch.randperm(len(features), generator=torch.Generator().manual_seed(step))[:BATCH][rank::size]
        optimizer.zero_grad()
        loss = F.mse_loss(model(features[batch]), values[batch])
        loss.backward()
        optimizer.step()
        if rank == 0 and step % 50 == 49:
            print(f"step {step + 1}: step size {optimizer.param_groups[0]['effective_lr']:.3g}")

    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    if launched:
        other = weights.clone()
        dist.broadcast(other, src=0)
        assert torch.equal(weights, other), "the processes have drifted apart"
    with optimizer.averaged(), torch.no_grad():
        loss = F.mse_loss(model(features), values).item()
    if rank == 0:
        print(f"loss {loss:.4f} on {size} process{'es' * (size > 1)}, all with the same parameters")
    if launched:
        dist.barrier()  # the first to leave would take the store with it
        dist.destroy_process_group()
    return loss


if __name__ == "__main__":
    main()
