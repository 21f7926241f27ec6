"""Batches, held-out means and small parts that the problems share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch

_OFFSETS = {"data": 1, "order": 2, "noise": 3}


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator of its own for the data, the order or the noise of a seed."""
    return torch.Generator().manual_seed(1_000_003 * (seed + 1) + _OFFSETS[purpose])


def shuffled(tensors: Sequence[Tensor], size: int, seed: int) -> Iterator[Batch]:
    """Yield batches of the rows without end; each epoch in a new order, its last part left out if too small."""
    order, rows = generator(seed, "order"), len(tensors[0])
    while True:
        permutation = torch.randperm(rows, generator=order)
        for start in range(0, rows - size + 1, size):
            index = permutation[start : start + size]
            yield tuple(tensor[index] for tensor in tensors)


def mirrored(tensors: Sequence[Tensor], size: int, seed: int, draw: torch.Generator) -> Iterator[Batch]:
    """Yield ``shuffled`` batches of images and what belongs to them; an image is a mirror image with a chance of ½."""
    for inputs, *others in shuffled(tensors, size, seed):
        mirror = torch.rand(len(inputs), 1, 1, 1, generator=draw) < 0.5
        yield torch.where(mirror, inputs.flip(3), inputs), *others


def held_out(
    loss: Callable[[nn.Module, Batch], Tensor], tensors: Sequence[Tensor], size: int = 500
) -> Callable[[nn.Module], float]:
    """Return a function that gives the mean loss over all rows, with the model in evaluation mode."""

    def evaluate(model: nn.Module) -> float:
        total, rows = 0.0, len(tensors[0])
        training = model.training
        model.eval()
        with torch.no_grad():
            for start in range(0, rows, size):
                batch = tuple(tensor[start : start + size] for tensor in tensors)
                total += float(loss(model, batch)) * len(batch[0])
        model.train(training)
        return total / rows

    return evaluate


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a classifier; classes are the last axis of its output."""
    inputs, targets = batch
    scores = model(inputs)
    return nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1))


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of a regression."""
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)


def dense(*widths: int, activation: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    """Return linear layers of these widths with an activation, and batch norm if asked for, between them."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        layers.append(nn.Linear(before, after))
        if number < len(widths) - 2:
            layers += ([nn.BatchNorm1d(after)] if norm else []) + [activation()]
    return nn.Sequential(*layers)


def normal_start(model: nn.Module, kind: Literal["relu", "linear"]) -> None:
    """Draw weights from normal distributions with He's variance, 2 / inputs, or LeCun's, 1 / inputs; biases are 0."""
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=kind)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
