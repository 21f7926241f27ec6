"""Accelerate: its wrappers around model, optimizer and loader need nothing but `curvestep.attach`.

    pip install accelerate
    python examples/accelerate_loop.py
    accelerate launch --num-processes 2 --cpu examples/accelerate_loop.py

scikit-learn's digits, two micro-batches a step, clipping; about seven seconds on one core.
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import curvestep


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the accuracy on held-out digits."""
    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=12)
    chosen = options.parse_args(arguments)
    torch.manual_seed(0)

    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    train, test = torch.randperm(len(inputs)).split(1400)

    accelerator = Accelerator(gradient_accumulation_steps=2)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = curvestep.Auto(model.parameters())
    loader = DataLoader(TensorDataset(inputs[train], targets[train]), batch_size=32, shuffle=True, drop_last=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    curvestep.attach(model, optimizer)  # sees through Accelerate's wrapper of the optimizer

    for epoch in range(chosen.epochs):
        losses = []
        for batch, wanted in loader:
            with accelerator.accumulate(model):
                loss = F.cross_entropy(model(batch), wanted)
                accelerator.backward(loss)  # divides by the number of micro-batches
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.detach())
        accelerator.print(f"epoch {epoch + 1}: loss {torch.stack(losses).mean().item():.4f}")

    own: curvestep.Auto = optimizer.optimizer  # the wrapper has no `averaged`
    with own.averaged(), torch.no_grad():
        right = model(inputs[test].to(accelerator.device)).argmax(1).cpu() == targets[test]
    accelerator.print(f"held-out accuracy {right.float().mean().item():.3f}")
    return right.float().mean().item()


if __name__ == "__main__":
    main()
