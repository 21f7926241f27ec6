"""Batch normalisation with averaged weights: measure the running statistics again before you evaluate or save.

    python examples/batch_norm.py

A convolutional network on scikit-learn's digits; about eight seconds on one core.

`Auto` evaluates averaged weights. The running mean and variance in a BatchNorm layer belong to the weights of the last
steps, not to the average, so a model in evaluation mode would normalise by numbers of another network.
`curvestep.nn.refresh_batch_norm` measures them on a few training batches.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import curvestep


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the loss in evaluation mode."""
    model.eval()
    with torch.no_grad():
        loss = F.cross_entropy(model(images), labels).item()
    model.train()
    return loss


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the held-out loss of the weights to save."""
    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=8)
    chosen = options.parse_args(arguments)
    torch.manual_seed(0)

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    targets = torch.tensor(labels)
    train, test = torch.randperm(len(images)).split(1400)
    loader = DataLoader(TensorDataset(images[train], targets[train]), batch_size=64, shuffle=True, drop_last=True)

    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
    )
    optimizer = curvestep.Auto(model.parameters())
    curvestep.attach(model, optimizer)

    for epoch in range(1, chosen.epochs + 1):
        for batch, wanted in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch), wanted)
            loss.backward()
            optimizer.step()

        # In the middle of a training: `keep_batch_norm` puts the statistics back for the steps that follow.
        with optimizer.averaged(), curvestep.nn.keep_batch_norm(model):
            stale = loss_of(model, images[test], targets[test])
            curvestep.nn.refresh_batch_norm(model, (batch for batch, _ in loader))
            fresh = loss_of(model, images[test], targets[test])
        print(f"epoch {epoch}: held-out loss {fresh:.3f}; with the statistics of the last steps {stale:.3f}")

    # At the end: put the average and its statistics into the model for good, and save an ordinary state_dict.
    model.load_state_dict(optimizer.averaged_state_dict(model))
    curvestep.nn.refresh_batch_norm(model, (batch for batch, _ in loader))
    final = loss_of(model, images[test], targets[test])
    print(f"the model to save: {final:.3f}")
    return final


if __name__ == "__main__":
    main()
