"""Hooks: the recorder's own, which leave cotangents, and those that hand on another gradient than they were given.

After one of the latter the derivative belongs to another function. A hook on a leaf changes `p.grad` alone, as clipping
does, and is left alone. One between the loss and the parameters is noticed where it is set: `Tensor.register_hook` is
wrapped once, when the first recording opens, since exchanging a method of `Tensor` for each recording would cost every
later lookup on tensors its cache. A module's full backward hooks work on a node of autograd's graph, on both sides of
which a gate stands.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from curvestep.engine.data.geometry import geometry_of, is_lazy
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.slot import BackwardLog, Slot

Hook = Callable[[Tensor], "Tensor | None"]
#: Sets a hook that no recording looks at.
set_hook: Callable[[Tensor, Any], Any] = Tensor.register_hook
_is_wrapped = False


def wrap_hooks(log_of: Callable[[], BackwardLog | None]) -> None:
    """Have hooks that are set on tensors inside a recording looked at; `log_of` gives the log of the open one."""
    global _is_wrapped
    if _is_wrapped:
        return
    _is_wrapped = True

    def register_hook(self: Tensor, hook: Hook) -> Any:
        log = log_of() if isinstance(self, Tensor) else None
        looked = hook if log is None or self.is_leaf else _looked_at(hook, log, tuple(self.shape))
        return set_hook(self, looked)

    register_hook.__doc__ = set_hook.__doc__
    Tensor.register_hook = register_hook  # type: ignore[method-assign]


def _looked_at(hook: Hook, log: BackwardLog, shape: tuple[int, ...]) -> Hook:
    """The hook, with a note in the log where it hands on another gradient."""

    def looked_at(gradient: Tensor) -> Tensor | None:
        version = None if gradient is None else gradient._version
        found = hook(gradient)
        replaced = found is not None and found is not gradient
        if not torch.is_grad_enabled() and (replaced or (gradient is not None and gradient._version != version)):
            name = getattr(hook, "__qualname__", type(hook).__name__)
            log.changed.append(f"the hook {name} on a tensor of shape {shape}")
        return found

    return looked_at


def note_gradients(recording: Recording) -> list[Any]:
    """Have the gradients of leaves noted as backward makes them, which may be in several parts.

    Returns:
        The handles of the hooks.
    """
    noted = recording.log.gradients

    def note(leaf: int) -> Hook:
        def add(gradient: Tensor | None) -> None:
            if gradient is None:  # a function has none for it
                return
            # A copy: p.grad may take over this memory, and be clipped or cleared in it.
            own = gradient.detach().clone() if gradient.layout is torch.strided else gradient.detach().to_dense()
            noted[leaf] = noted[leaf] + own if leaf in noted else own

        return add

    moving = {id(t): t for t, v in recording.leaves.values() if v.needs_grad and t.requires_grad and t.is_leaf}
    handles: list[Any] = []
    for tensor in moving.values():
        handles.append(set_hook(tensor, note(id(tensor))))
        hooks: Any = tensor._backward_hooks
        for key in [key for key in hooks if key != handles[-1].id]:
            hooks[key] = hooks.pop(key)  # a hook of the user's, which may change the gradient, comes after it
    return handles


@final
class Gate:
    """Stands around the node that a module's full backward hooks work on, and compares what comes in and goes out."""

    __slots__ = ("arrived", "log")

    def __init__(self, log: BackwardLog, node: Any) -> None:
        self.log = log
        self.arrived: dict[int, Tensor] = {}
        node.register_hook(self.leave)

    def watch(self, tensor: Tensor) -> None:
        """Look at the gradient that arrives at one output of the node."""
        at, arrived = tensor.output_nr, self.arrived

        def arrive(gradient: Tensor | None) -> None:
            if gradient is not None:
                arrived[at] = gradient

        set_hook(tensor, arrive)

    def leave(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
        """Compare the gradients that leave the node with those that arrived: the same numbers in the same place."""
        if torch.is_grad_enabled():
            return
        for at, gradient in self.arrived.items():
            left = inputs[at + len(inputs) - len(outputs)]  # what is no tensor comes before those that are
            if left is None or left.data_ptr() != gradient.data_ptr():
                where = f"a tensor of shape {tuple(gradient.shape)}"
                self.log.changed.append(f"a full backward hook of a module, on {where},")
        self.arrived.clear()


def gate_of(tensor: Tensor, gates: dict[Any, Gate], log: BackwardLog) -> Gate:
    """The gate around the node that handed a tensor on, a new one where there is none among `gates`."""
    node = tensor.grad_fn
    if node not in gates:
        gates[node] = Gate(log, node)
    return gates[node]


def slot_of(tensor: Tensor, log: BackwardLog, mutated: bool) -> Slot | None:
    """Have autograd leave the cotangent of a tensor, perhaps a view that was written in place, in a slot."""
    base = tensor._base if mutated else None
    if base is None or not base.requires_grad:
        slot = Slot(log, tensor)
        _set_for_good(tensor, slot)
        return slot
    if base.dtype != tensor.dtype or is_lazy(base) != is_lazy(tensor):
        return None  # the view's elements are not those of the base, so its terms are carried on
    # A view written in place gets its gradient through its base, which may be read by other views too.
    slot = Slot(log, tensor, (geometry_of(base), geometry_of(tensor)))
    set_hook(base, slot)
    return slot


def _set_for_good(tensor: Tensor, slot: Slot) -> None:
    """Set a hook as `Tensor.register_hook` does, but without the handle that removes it, which costs more than it."""
    made_by: Any = tensor.grad_fn
    if tensor._backward_hooks is not None or made_by is None or type(tensor) is not Tensor:
        set_hook(tensor, slot)
        return
    hooks = OrderedDict({-1: slot})  # handles count from 0
    tensor._backward_hooks = hooks  # type: ignore[assignment]
    made_by._register_hook_dict(tensor)
