"""Checkpoint and resume: a run that was stopped and went on is the uninterrupted one, bit for bit.

    python examples/checkpoint.py

Trains twice, once with a stop in the middle, and compares; about four seconds on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep

FEATURES = torch.randn(512, 20, generator=torch.Generator().manual_seed(1))
VALUES = torch.sin(FEATURES).sum(1, keepdim=True)


def make() -> tuple[nn.Module, curvestep.Auto]:
    """Return a new model with its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = curvestep.Auto(model.parameters())
    curvestep.attach(model, optimizer)
    return model, optimizer


def train(model: nn.Module, optimizer: curvestep.Auto, steps: range) -> None:
    """Take these steps; the batch of a step depends on its number alone."""
    for step in steps:
        batch = torch.randperm(len(FEATURES), generator=torch.Generator().manual_seed(step))[:64]
        optimizer.zero_grad()
        F.mse_loss(model(FEATURES[batch]), VALUES[batch]).backward()
        optimizer.step()


def save(path: Path, model: nn.Module, optimizer: curvestep.Auto, step: int) -> None:
    """Write what a run needs to go on: the state_dicts hold it all, curvature averages and averaged weights too."""
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, path)


def load(path: Path) -> tuple[nn.Module, curvestep.Auto, int]:
    """Make model and optimizer as at the start, then fill them."""
    model, optimizer = make()
    saved = torch.load(path, weights_only=True)  # plain tensors and numbers: nothing to unpickle
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return model, optimizer, saved["step"]


def averaged(model: nn.Module, optimizer: curvestep.Auto) -> list[Tensor]:
    """Return the weights to evaluate and to save."""
    return list(optimizer.averaged_state_dict(model).values())


def main(arguments: list[str] | None = None) -> float:
    """Return the largest difference between the two runs, which is 0."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=400)
    steps = options.parse_args(arguments).steps
    half = steps // 2 + 3  # not a step that measures: what is held in between is saved too

    model, optimizer = make()
    train(model, optimizer, range(steps))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        stopped, its_optimizer = make()
        train(stopped, its_optimizer, range(half))
        save(path, stopped, its_optimizer, half)
        resumed, its_optimizer, at = load(path)
    train(resumed, its_optimizer, range(at, steps))

    pairs = zip(averaged(model, optimizer), averaged(resumed, its_optimizer), strict=True)
    difference = max((one - other).abs().max().item() for one, other in pairs)
    with optimizer.averaged(), torch.no_grad():
        print(f"loss {F.mse_loss(model(FEATURES), VALUES).item():.4f} after {steps} steps")
    print(f"largest difference between the stopped and the uninterrupted run: {difference}")
    return difference


if __name__ == "__main__":
    main()
