"""Compiled steps on a network, as callables to be timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from curvestep.bench.overhead.subjects import Subject
    from curvestep.optim import AbstractComposedOptimizer


def compiled_step(optimizer: AbstractComposedOptimizer, subject: Subject) -> Callable[[], None]:
    """One of curvestep's optimizers over the subject's parameters, forward, backward and measurement in one graph.

    Args:
        optimizer: steps the parameters of the subject.
        subject: the network and its batch.

    Returns:
        A step; the first call of each kind compiles.

    Raises:
        RuntimeError: by the step, if it runs uncompiled: its time would be that of another way.
    """
    from curvestep.bench.measure import cross_entropy

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(subject.network(inputs), targets)

    step = optimizer.compile(loss)

    def take() -> None:
        step(subject.inputs, subject.targets)
        if step.fallback is not None:
            raise RuntimeError(f"The step was to be timed compiled, but it ran uncompiled: {step.fallback}.")

    return take


def compiled_plain(optimizer: Optimizer, subject: Subject) -> Callable[[], None]:
    """A plain step of torch's optimizer with forward and backward by `torch.compile`, to compare the other with.

    Args:
        optimizer: steps the parameters of the subject.
        subject: the network and its batch.

    Returns:
        A step; the first call compiles.
    """
    import torch

    loss = torch.compile(subject.loss, dynamic=False)

    def take() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return take
