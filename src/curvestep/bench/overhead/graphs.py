"""Steps whose forward and backward, or all of them, are compiled, made ready on a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import curvestep
from curvestep.bench.overhead.compiled import compiled_plain, compiled_step
from curvestep.bench.overhead.ours import now_and_then, torch_optimizer
from curvestep.bench.overhead.prepared import Measured, Prepared
from curvestep.bench.overhead.subjects import Subject


def plain(subject: Subject, baseline: str) -> Prepared:
    """Forward and backward compiled as torch.compile does it, torch's optimizer outside."""
    torch._dynamo.reset()  # or it gives up after some networks: the function is the same one for all of them
    return Prepared(compiled_plain(torch_optimizer(baseline, subject), subject), is_compiled=True)


def auto(subject: Subject) -> Prepared:
    """The library's default as two graphs: a measured step and one that is not."""
    optimizer = curvestep.Auto(subject.parameters)
    return now_and_then(optimizer, compiled_step(optimizer, subject), is_compiled=True)


def rescaled(subject: Subject) -> Prepared:
    """The exact curvature on every step as one graph, in which it is measured along the graph's own gradient."""
    optimizer = curvestep.RescaledSGD(subject.parameters)
    step = compiled_step(optimizer, subject)

    def curvature(direction: Sequence[Tensor]) -> Measured:
        del direction
        step()
        assert optimizer.last_step is not None and optimizer.last_step.curvature is not None
        return Measured(optimizer.last_step.curvature)

    return Prepared(step, curvature=curvature, is_compiled=True)
