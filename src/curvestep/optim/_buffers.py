"""Buffers of a model whose forward must leave no trace: running statistics, counters, power iterations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import _disable_current_modes

# torch says of a compiled module that hooks on all modules fire once more for it; here they may.
_HOOKS = r"Using `torch\.compile\(module\)` when there are global hooks"


@contextmanager
def kept_buffers() -> Iterator[None]:
    """Restore at the end of the block every buffer of every module whose forward ran in it, bit for bit.

    An optimizer knows parameters and no model, so each module is met as it is called. A buffer that a module replaces
    instead of writing to it stays replaced.
    """
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, inputs: Any) -> None:
        del inputs
        for buffer in module.buffers(recurse=False):
            # Under torch.func a module may be given buffers of a transform, which end with it.
            if id(buffer) not in kept and not _functorch.is_functorch_wrapped_tensor(buffer):
                with torch.no_grad(), _disable_current_modes():  # no part of what is recorded
                    kept[id(buffer)] = buffer, buffer.clone()

    handle = register_module_forward_pre_hook(keep)
    with _unsaid(_HOOKS):
        try:
            yield
        finally:
            handle.remove()
            with torch.no_grad():
                for buffer, copy in kept.values():
                    buffer.copy_(copy)


@contextmanager
def _unsaid(message: str) -> Iterator[None]:
    """Have a warning not shown that begins like this; unlike `warnings.catch_warnings` for blocks that may overlap."""
    warnings.filterwarnings("ignore", message=message)
    filters = cast("list[Any]", warnings.filters)
    entry = filters[0]
    try:
        yield
    finally:
        filters = cast("list[Any]", warnings.filters)
        if entry in filters:
            filters.remove(entry)
