"""The ordinary training loop with `curvestep.Auto`: two lines differ from the loop with AdamW.

    python examples/plain_loop.py

scikit-learn's digits, a small dense network; about three seconds on one core.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import curvestep


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the accuracy on held-out digits."""
    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=30)
    chosen = options.parse_args(arguments)
    torch.manual_seed(0)

    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    train, test = torch.randperm(len(inputs)).split(1400)
    loader = DataLoader(TensorDataset(inputs[train], targets[train]), batch_size=64, shuffle=True)

    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = curvestep.Auto(model.parameters())  # no learning rate, no number of steps
    curvestep.attach(model, optimizer)  # from now on each training forward of the model is measured where it is due

    for epoch in range(chosen.epochs):
        for batch, wanted in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch), wanted)
            loss.backward()
            optimizer.step()
        if epoch % 10 == 9:
            last = optimizer.last_step  # what the step measured and did, and a sentence on how it ended
            assert last is not None
            print(f"epoch {epoch + 1}: step size {last.step_size:.2g}. {last.outcome.value}")

    with optimizer.averaged(), torch.no_grad():  # Auto evaluates and saves the averaged weights
        model.eval()
        accuracy = (model(inputs[test]).argmax(1) == targets[test]).float().mean().item()
    print(f"held-out accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
