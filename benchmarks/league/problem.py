"""What a problem of the league is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Batch = tuple[Any, ...]


@dataclass(frozen=True)
class Instance:
    """A problem for one seed, ready to train.

    Args:
        model: the network at its start; parameters with ``requires_grad`` are trained.
        batches: an endless iterator of batches in a seeded order.
        loss: the training loss of a batch, a scalar that is a mean over samples.
        evaluate: the held-out loss, at least 0, on fixed data; lower is better.
        norm_inputs: inputs of a few fixed training batches, on which batch-norm statistics are measured before an
            evaluation; empty without batch norm.
        on_step: called after step k (from 1) with the model in its training weights; for targets that move.
    """

    model: nn.Module
    batches: Iterator[Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module], float]
    norm_inputs: tuple[Batch, ...] = ()
    on_step: Callable[[int, nn.Module], None] | None = None


@dataclass(frozen=True)
class Problem:
    """One row of the table.

    Args:
        name: its name on the command line and in the store.
        family: the kind of demand that it makes of a step; the split is balanced over families.
        steps: steps at scale 1.
        build: makes an instance from a seed.
        what: one line for the reader.
    """

    name: str
    family: str
    steps: int
    build: Callable[[int], Instance]
    what: str
