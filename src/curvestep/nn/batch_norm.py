"""Running statistics of batch normalisation for weights other than those of the training, such as averaged ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def refresh_batch_norm(model: nn.Module, batches: Iterable[Tensor | tuple[Any, ...]]) -> None:
    """Measure the running statistics of every batch normalisation again, at the present weights.

    With batches 1 … n, μ_i and σ²_i the mean and the unbiased variance of what reaches a layer in batch i::

        running_mean = (1/n) Σ_i μ_i        running_var = (1/n) Σ_i σ²_i

    The normalisations are in training mode and the rest of the model in evaluation mode, so that the statistics are
    those of the signals that they will normalise (dropout is off). No other state changes, no gradient is computed, and
    a model without running statistics is not called at all.

    Args:
        model: The model; modes and momenta of its layers are the same afterwards.
        batches: What to call it on, one batch after the other: a tensor, or a tuple of positional arguments. All count
            alike, so give batches of one size; from a loader of pairs, ``(inputs for inputs, _ in loader)``.

    Raises:
        ValueError: There was no batch. The statistics are then unchanged, as after any other exception.

    Cost:
        One forward pass a batch.

    Example:
        >>> import torch
        >>> norm = torch.nn.BatchNorm1d(1)
        >>> refresh_batch_norm(norm, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [11.0]])])
        >>> norm.running_mean, norm.running_var  # means 2 and 8, variances 2 and 18
        (tensor([5.]), tensor([10.]))

    Source:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, arXiv 1803.05407,
        section 3.2.

    Deviations:
        ``torch.optim.swa_utils.update_bn`` puts the whole model in training mode, dropout included.
    """
    layers = _layers(model)
    if not layers:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    saved = _statistics(layers)
    done = False
    try:
        model.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's sign for the plain mean over the batches
            layer.training = True
        with torch.no_grad():
            for batch in batches:
                model(*batch) if isinstance(batch, tuple) else model(batch)
                done = True
        if not done:
            raise ValueError(
                "refresh_batch_norm needs at least one batch, but none came: give a few training batches, and a fresh "
                "iterator where the last one has been used up."
            )
    except BaseException:
        _restore(saved)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training


@contextmanager
def keep_batch_norm(model: nn.Module) -> Iterator[None]:
    """Restore the running statistics of every batch normalisation at the end of the ``with`` block.

    For an evaluation at other weights in the middle of training::

        with optimizer.averaged(), keep_batch_norm(model):
            refresh_batch_norm(model, batches)
            evaluate(model)

    Args:
        model: The model.

    Yields:
        Nothing.

    Cost:
        A copy of the statistics, two numbers a channel.

    Example:
        >>> import torch
        >>> norm = torch.nn.BatchNorm1d(1)
        >>> with keep_batch_norm(norm):
        ...     refresh_batch_norm(norm, [torch.tensor([[1.0], [3.0]])])
        >>> norm.running_mean
        tensor([0.])
    """
    saved = _statistics(_layers(model))
    try:
        yield
    finally:
        _restore(saved)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the normalisations that have running statistics, a shared one once."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def _statistics(layers: Iterable[_BatchNorm]) -> list[tuple[Tensor, Tensor]]:
    """Return each buffer with a copy of it."""
    buffers = [getattr(layer, name) for layer in layers for name in _STATISTICS]
    return [(buffer, buffer.clone()) for buffer in buffers if buffer is not None]


def _restore(saved: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Write the copies back."""
    with torch.no_grad():
        for buffer, copy in saved:
            buffer.copy_(copy)
