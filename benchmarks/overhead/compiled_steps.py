"""Steps whose forward and backward, or all of them, are compiled, made ready on a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

import curvestep
from benchmarks.overhead.cases import Case
from benchmarks.overhead.own_steps import by_windows, now_and_then, torch_optimizer
from benchmarks.overhead.prepared import Measured, Prepared
from curvestep.bench.measure import cross_entropy
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.optim import AbstractComposedOptimizer


def compiled_step(optimizer: AbstractComposedOptimizer, case: Case) -> Callable[[], None]:
    """One of curvestep's optimizers over the case's parameters, forward, backward and measurement in one graph.

    Args:
        optimizer: steps the parameters of the case.
        case: the network and its batch.

    Returns:
        A step; the first call of each kind compiles.

    Raises:
        RuntimeError: by the step, if it runs uncompiled: its time would be that of another way.
    """

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(case.network(inputs), targets)

    step = optimizer.compile(loss)

    def take() -> None:
        step(case.inputs, case.targets)
        if step.fallback is not None:
            raise RuntimeError(f"The step was to be timed compiled, but it ran uncompiled: {step.fallback}.")

    return take


def compiled_plain(optimizer: Optimizer, case: Case) -> Callable[[], None]:
    """A plain step of torch's optimizer with forward and backward by `torch.compile`, to compare the other with.

    Args:
        optimizer: steps the parameters of the case.
        case: the network and its batch.

    Returns:
        A step; the first call compiles.
    """
    loss = torch.compile(case.loss, dynamic=False)

    def take() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return take


def plain(case: Case, baseline: str) -> Prepared:
    """Forward and backward compiled as torch.compile does it, torch's optimizer outside."""
    torch._dynamo.reset()  # or it gives up after some networks: the function is the same one for all of them
    return Prepared(compiled_plain(torch_optimizer(baseline, case), case), is_compiled=True)


def auto(case: Case) -> Prepared:
    """The library's default: its steps as graphs, the ends of its windows uncompiled."""
    optimizer = curvestep.Auto(case.parameters)
    return by_windows(optimizer, compiled_step(optimizer, case), is_compiled=True)


def ceiling(case: Case) -> Prepared:
    """Adam under a ceiling as two graphs: a measured step and one that is not."""
    optimizer = CeilingAdam(case.parameters)
    return now_and_then(optimizer, compiled_step(optimizer, case), is_compiled=True)


def rescaled(case: Case) -> Prepared:
    """The exact curvature on every step as one graph, in which it is measured along the graph's own gradient."""
    optimizer = curvestep.RescaledSGD(case.parameters)
    step = compiled_step(optimizer, case)

    def curvature(direction: Sequence[Tensor]) -> Measured:
        del direction
        step()
        assert optimizer.last_step is not None and optimizer.last_step.curvature is not None
        return Measured(optimizer.last_step.curvature)

    return Prepared(step, curvature=curvature, is_compiled=True)
