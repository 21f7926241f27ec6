"""Problems of the league with the loss, the batch or a layer changed: what a method without a rate has to bear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.league.problem import Batch, Instance, Problem


def _scaled(factor: float) -> Callable[[Instance], Instance]:
    """Multiply the training loss; the held-out loss stays what it is."""

    def change(instance: Instance) -> Instance:
        own = instance.loss
        return replace(instance, loss=lambda model, batch: factor * own(model, batch))

    return change


def _doubled(instance: Instance) -> Instance:
    """Join two batches to one: as many steps with twice the samples."""

    def pairs(batches: Iterator[Batch]) -> Iterator[Batch]:
        while both := tuple(islice(batches, 2)):
            yield tuple(torch.cat(parts) for parts in zip(*both, strict=True))

    return replace(instance, batches=pairs(instance.batches))


class _Times(nn.Module):
    """w = c v, where v is what is trained."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, v: Tensor) -> Tensor:
        return self.factor * v

    def right_inverse(self, w: Tensor) -> Tensor:
        return w / self.factor


def _stretched(factor: float) -> Callable[[Instance], Instance]:
    """Train the largest weight divided by a factor: the same network, begun at the same place."""

    def change(instance: Instance) -> Instance:
        found = [(p.numel(), name) for name, p in instance.model.named_parameters() if name.endswith("weight")]
        place, _, own = max(found)[1].rpartition(".")
        parametrize.register_parametrization(instance.model.get_submodule(place), own, _Times(factor))
        return instance

    return change


#: What is changed, by the end of the problem's name.
CHANGES: dict[str, tuple[str, Callable[[Instance], Instance]]] = {
    "loss-x1000": ("the loss times 1,000", _scaled(1e3)),
    "loss-d1000": ("the loss divided by 1,000", _scaled(1e-3)),
    "batch-x2": ("two batches as one", _doubled),
    "layer-x10": ("the largest weight trained as a tenth of itself", _stretched(10.0)),
    "layer-d10": ("the largest weight trained as ten times itself", _stretched(0.1)),
}


def changed(problem: Problem, name: str) -> Problem:
    """Return a problem with a change; it keeps its number of steps and its held-out loss."""
    what, change = CHANGES[name]
    return replace(
        problem,
        name=f"{problem.name}:{name}",
        build=lambda seed: change(problem.build(seed)),
        what=f"{problem.what}; {what}",
    )
