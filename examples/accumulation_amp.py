"""Gradient accumulation under automatic mixed precision, with clipping: four micro-batches make one step.

    python examples/accumulation_amp.py
    python examples/accumulation_amp.py --device cuda --half   # float16 with a GradScaler

bfloat16 on the CPU; about five seconds on one core. What is measured is the loss of the whole batch, whatever the sizes
of its parts.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import curvestep

BATCH, PARTS = 128, 4


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the accuracy on held-out digits."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=250)
    options.add_argument("--device", default="cpu")
    options.add_argument("--half", action="store_true", help="float16 with a GradScaler instead of bfloat16")
    chosen = options.parse_args(arguments)
    torch.manual_seed(0)
    dtype = torch.float16 if chosen.half else torch.bfloat16

    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pixels, dtype=torch.float32, device=chosen.device) / 16
    targets = torch.tensor(labels, device=chosen.device)
    train, test = torch.randperm(len(inputs)).split(1400)

    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64), nn.GELU(), nn.Linear(64, 10))
    model.to(chosen.device)
    optimizer = curvestep.Auto(model.parameters())
    scaler = torch.amp.GradScaler(chosen.device, enabled=chosen.half)

    for step in range(chosen.steps):
        batch = torch.randint(1400, (BATCH,), device=chosen.device)
        optimizer.zero_grad()
        total = torch.zeros((), device=chosen.device)
        for part in batch.chunk(PARTS):
            # One recording around each micro-batch. With `scaler=`, its factor is known though `unscale_` comes before
            # the step; leave it out without a GradScaler.
            with optimizer.record(scaler=scaler if chosen.half else None):
                with torch.autocast(chosen.device, dtype=dtype):
                    loss = F.cross_entropy(model(inputs[train][part]), targets[train][part])
                # The weight makes the sum of the parts' losses the mean over the batch, also where a part is smaller.
                share = loss * len(part) / len(batch)
                scaler.scale(share).backward()
            total += share.detach()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # between backward and step, as ever
        scaler.step(optimizer)
        scaler.update()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {total.item():.4f}")

    with optimizer.averaged(), torch.no_grad():
        accuracy = (model(inputs[test]).argmax(1) == targets[test]).float().mean().item()
    print(f"held-out accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
