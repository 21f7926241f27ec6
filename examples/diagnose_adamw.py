"""Curvature as a diagnostic under someone else's optimizer: is AdamW's rate too high, and which layer says so?

    python examples/diagnose_adamw.py

Nothing is changed in the training. Every 50 steps one batch is recorded, and three questions are asked along the
direction of AdamW's next step; about five seconds on one core.

- How far is the rate from the edge of stability? Along d the loss is J − τ⟨∇J, d⟩ + τ²/2 ⟨∇²J d, d⟩ to second order: a
  step τ beyond 2⟨∇J, d⟩ / ⟨∇²J d, d⟩ raises it. The ratio to AdamW's rate is printed as `edge / rate`: far above 1
  the rate could be higher, below 1 this step raises the batch's loss, below 0 the momentum points uphill.
- How uneven is the batch? The curvature of each sample, its mean and its largest.
- Which layer holds the step back?
"""

from __future__ import annotations

import argparse
from copy import deepcopy

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep

RATE = 3e-3


def next_direction(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return d of the step θ ← θ − RATE d that the optimizer is about to take, by taking it on a copy of the model."""
    copy = deepcopy(model)
    other = torch.optim.AdamW(copy.parameters())
    other.load_state_dict(optimizer.state_dict())
    pairs = list(zip(model.parameters(), copy.parameters(), strict=True))
    for own, copied in pairs:
        copied.grad = own.grad
    other.step()
    return [((own - copied) / RATE).detach() for own, copied in pairs]


def main(arguments: list[str] | None = None) -> float:
    """Train with AdamW, and return the median of the measured edge over the rate."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=300)
    chosen = options.parse_args(arguments)
    torch.manual_seed(0)

    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)  # any optimizer
    named = list(model.named_parameters())
    params = [parameter for _, parameter in named]

    edges = []
    for step in range(1, chosen.steps + 1):
        batch = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        if step % 50:
            F.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            continue

        with curvestep.record() as tape:  # the same forward and backward, recorded
            loss = F.cross_entropy(model(inputs[batch]), targets[batch])
            loss.backward()
        direction = next_direction(model, optimizer)  # before the step: the tape is of the parameters as they are
        along = tape.curvature(params, direction)  # total, per_sample, slope: exact
        layers = curvestep.layer_curvature(tape, named, direction)
        tape.release()  # it holds the activations
        optimizer.step()

        assert along.per_sample is not None
        edge = (2 * along.slope / along.total).item()
        edges.append(edge / RATE)
        tight = max(layers, key=lambda each: each.curvature)
        print(
            f"step {step}: loss {loss.item():.4f}, edge / rate {edge / RATE:6.2f}, curvature of the samples: mean "
            f"{along.total.item():.3g}, largest {along.per_sample.max().item():.3g}; most of it in {tight.name}"
        )
    return sorted(edges)[len(edges) // 2]


if __name__ == "__main__":
    main()
