"""Backward runs unobserved: its operations are not part of the forward, and a mode that looks away costs as much.

A dispatch mode sees every operation, those of a backward pass too, and a microsecond or ten of Python for each of them
is as much as the recording of the forward. Autograd restores the modes of the thread for every node of its graph, so
they can be put aside only around the whole pass: at the one function through which `Tensor.backward`,
`torch.autograd.backward` and `torch.autograd.grad` all go. It is exchanged while a recording is open, and only there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode, _pop_mode, _push_mode

_ENTRY = "_engine_run_backward"  # of torch.autograd; where a version has none, backward is simply observed

_lock = threading.Lock()
_open = 0
_original: Callable[..., Any] | None = None


@contextmanager
def backward_unobserved(kind: type[TorchDispatchMode]) -> Iterator[None]:
    """Put the innermost mode aside during backward passes inside the block, if it is of this kind.

    A pass with `create_graph=True` is part of the forward and stays observed.

    Args:
        kind: the recorder's class. Other modes, and other threads, see what they would see without this.
    """
    global _open, _original
    with _lock:
        if _open == 0:
            _original = getattr(torch.autograd, _ENTRY, None)
            if _original is not None:
                setattr(torch.autograd, _ENTRY, _aside(_original, kind))
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if _open == 0 and _original is not None:
                setattr(torch.autograd, _ENTRY, _original)
                _original = None


def _aside(run: Callable[..., Any], kind: type[TorchDispatchMode]) -> Callable[..., Any]:
    """The engine's entry, with the innermost mode put aside."""

    def entry(roots: Any, gradients: Any, keep_graph: Any, create_graph: Any, *rest: Any, **options: Any) -> Any:
        arguments = (roots, gradients, keep_graph, create_graph, *rest)
        if create_graph or not isinstance(_get_current_dispatch_mode(), kind):
            return run(*arguments, **options)
        mode: Any = _pop_mode()
        try:
            found = run(*arguments, **options)
        finally:
            _push_mode(mode)
        if mode.after_backward is not None:
            mode.after_backward()
        return found

    return entry
