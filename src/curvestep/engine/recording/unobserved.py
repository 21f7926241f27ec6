"""Backward runs unobserved: its operations are not part of the forward, and a mode that looks away costs as much.

A dispatch mode sees every operation, those of a backward pass too, and a microsecond or ten of Python for each of them
is as much as the recording of the forward. Autograd restores the modes of the thread for every node of its graph, so
they can be put aside only around the whole pass: at the one function through which `Tensor.backward`,
`torch.autograd.backward` and `torch.autograd.grad` all go. It is exchanged while a recording is open, and only there.
There the recorders are told, too, at which tensors a backward starts, whichever thread it runs in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode, _pop_mode, _push_mode

_ENTRY = "_engine_run_backward"  # of torch.autograd; where a version has none, backward is simply observed


class Watcher(Protocol):
    """A mode that wants to be told of backwards."""

    def begin_backward(self, roots: Sequence[Any]) -> bool:
        """A backward starts at these tensors; False: none of them is of this mode."""
        ...

    def end_backward(self, returned: Any) -> None:
        """The backward has ended and given these gradients, None where it left them in `.grad`."""


_lock = threading.Lock()
_open: list[Watcher] = []
_original: Callable[..., Any] | None = None


def begin_watching(watcher: Watcher) -> None:
    """Put the innermost mode aside during backward passes from here on, if it is of a watcher's class.

    A pass with `create_graph=True` is part of the forward and stays observed.

    Args:
        watcher: the recorder, or whoever wants to be told. Other modes, and other threads, see what they would see
            without this.
    """
    global _original
    with _lock:
        if not _open:
            _original = getattr(torch.autograd, _ENTRY, None)
            if _original is not None:
                setattr(torch.autograd, _ENTRY, _aside(_original))
        _open.append(watcher)


def end_watching(watcher: Watcher) -> None:
    """Undo `begin_watching`."""
    global _original
    with _lock:
        _open.remove(watcher)
        if not _open and _original is not None:
            setattr(torch.autograd, _ENTRY, _original)
            _original = None


def _aside(run: Callable[..., Any]) -> Callable[..., Any]:
    """The engine's entry, with the innermost mode put aside."""

    def entry(roots: Any, gradients: Any, keep_graph: Any, create_graph: Any, *rest: Any, **options: Any) -> Any:
        arguments = (roots, gradients, keep_graph, create_graph, *rest)
        if create_graph:
            return run(*arguments, **options)
        told: list[Watcher] = []
        if torch._C._current_graph_task_id() == -1:  # else checkpointing runs a part of a backward again
            told = [watcher for watcher in tuple(_open) if watcher.begin_backward(roots)]
        kinds = tuple([type(watcher) for watcher in tuple(_open)])
        mode: Any = _pop_mode() if isinstance(_get_current_dispatch_mode(), kinds) else None
        try:
            found = run(*arguments, **options)
            for watcher in told:
                watcher.end_backward(found)
        finally:
            if mode is not None:
                _push_mode(mode)
        if mode is not None and mode.after_backward is not None:
            mode.after_backward()
        return found

    return entry
