"""Fine-tuning: a trained body with a new head, first the head alone, then both, the body with a tenth of the step.

    python examples/fine_tuning.py

A network that has learnt the ten digits is taught, from 40 images, which digits are even; next to one that starts from
nothing. About six seconds on one core.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep


def train(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, steps: int) -> None:
    """Take steps on random batches of 50."""
    attachment = curvestep.attach(model, optimizer)
    for _ in range(steps):
        chosen = torch.randint(len(images), (50,))
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    attachment.remove()  # the next stage has an optimizer of its own


def accuracy_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of right answers."""
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def fresh_body() -> nn.Module:
    """Return a body that knows nothing."""
    return nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU())


def main(arguments: list[str] | None = None) -> float:
    """Return the accuracy of the fine-tuned model on images that it has not seen."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=300, help="of each stage")
    steps = options.parse_args(arguments).steps
    torch.manual_seed(0)

    pixels, labels = load_digits(return_X_y=True)
    images, digits = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    known, few, held = torch.randperm(len(images)).split([900, 40, len(images) - 940])
    even = (digits % 2 == 0).long()

    body = fresh_body()
    model = nn.Sequential(body, nn.Linear(64, 10))
    optimizer = curvestep.Auto(model.parameters())
    train(model, optimizer, images[known], digits[known], steps)
    model.load_state_dict(optimizer.averaged_state_dict(model))  # go on from the averaged weights

    # The head alone: the optimizer is given no other parameters.
    model[1] = nn.Linear(64, 2)
    body.requires_grad_(False)
    optimizer = curvestep.Auto(model[1].parameters())
    train(model, optimizer, images[few], even[few], steps)
    model.load_state_dict(optimizer.averaged_state_dict(model))
    print(f"new head, body frozen: {accuracy_of(model, images[held], even[held]):.3f}")

    # Both. Auto has no learning rate, but groups may move in a ratio: only that of their `lr` counts.
    body.requires_grad_(True)
    optimizer = curvestep.Auto([{"params": body.parameters(), "lr": 0.1}, {"params": model[1].parameters(), "lr": 1.0}])
    train(model, optimizer, images[few], even[few], steps)
    with optimizer.averaged():
        accuracy = accuracy_of(model, images[held], even[held])
    print(f"then body and head:    {accuracy:.3f}")

    scratch = nn.Sequential(fresh_body(), nn.Linear(64, 2))
    optimizer = curvestep.Auto(scratch.parameters())
    train(scratch, optimizer, images[few], even[few], steps)
    with optimizer.averaged():
        print(f"from nothing:          {accuracy_of(scratch, images[held], even[held]):.3f}")
    return accuracy


if __name__ == "__main__":
    main()
