"""Steps on a model that is restored afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Yield a function that goes back to the start, in a block that may train `model` and leaves nothing of it.

    While the block runs, parameters and buffers hold copies of their values; the memory of the originals is never
    written to. What a forward keeps in plain attributes of a module (a counter, a cache) is not covered.
    """
    parameters = list(dict.fromkeys(model.parameters()))
    tensors = list(dict.fromkeys([*parameters, *model.buffers()]))
    values = [tensor.data for tensor in tensors]
    gradients = [p.grad for p in parameters]
    wanted = [p.requires_grad for p in parameters]
    modules = list(model.modules())
    training = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda" and t.device.index is not None})
    python, numpy = random.getstate(), np.random.get_state()

    def structure() -> None:
        for module, flag, held in zip(modules, training, buffers, strict=True):
            module.training = flag
            module._buffers.clear()
            module._buffers.update(held)
        for parameter, flag in zip(parameters, wanted, strict=True):
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)

    def numbers() -> None:
        random.setstate(python)
        np.random.set_state(numpy)

    with torch.random.fork_rng(devices=devices):
        cpu = torch.get_rng_state()
        gpu = [torch.cuda.get_rng_state(device) for device in devices]

        def start() -> None:
            structure()
            numbers()
            torch.set_rng_state(cpu)
            for device, state in zip(devices, gpu, strict=True):
                torch.cuda.set_rng_state(state, device)
            for parameter in parameters:
                parameter.grad = None
            for tensor, value in zip(tensors, values, strict=True):
                tensor.data = value.clone()

        try:
            start()
            yield start
        finally:
            structure()
            numbers()
            for tensor, value in zip(tensors, values, strict=True):
                tensor.data = value
            _give_back(parameters, gradients)


def _give_back(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Put the gradients back: the same objects."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
