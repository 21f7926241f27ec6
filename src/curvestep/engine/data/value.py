"""The graph of a recording: values and the operations between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Rule
from curvestep.engine.data.slot import Slot

#: The version of a value whose tensor was written to without its version counter rising: no tensor has it.
STALE = 2**62


class Value:
    """One version of one tensor: an in-place write makes a new value."""

    __slots__ = (
        "__weakref__", "data", "dtype", "epoch", "index", "needs_grad", "origin", "place", "shape", "slot",
        "version",
    )  # fmt: skip

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, origin: Node | None, index: int) -> None:
        self.shape = shape
        self.dtype = dtype
        self.origin = origin  # None: came from outside the recording
        self.index = index  # which output of its origin
        self.needs_grad = False
        self.data: Tensor | None = None  # held only where a rule asks for it
        self.version = -1
        self.place = 0  # the address of a leaf's data; 0: not looked at
        self.epoch = 0  # how many in-place writes to its storage it has seen
        self.slot: Slot | None = None

    @property
    def cotangent(self) -> Tensor | None:
        """∂J/∂value, or None where backward did not reach it."""
        return None if self.slot is None else self.slot.cotangent

    @property
    def overwritten(self) -> bool:
        """Whether the tensor that is held was written to since."""
        return self.data is not None and self.version >= 0 and self.data._version != self.version


def with_values(arg: Any, replace: Callable[[Value], Any]) -> Any:
    """An argument of an operation with each value in it, in nested lists too, replaced."""
    # A function of this file, since one that is defined where it is used and calls itself is a reference cycle.
    if isinstance(arg, Value):
        return replace(arg)
    return [with_values(a, replace) for a in arg] if isinstance(arg, list) else arg


@dataclass(slots=True, eq=False)
class Node:
    """One operation of the forward, in the order in which it ran."""

    op: Any  # torch._ops.OpOverload, or a pseudo operation of the tape
    rule: Rule | None
    args: tuple[Any, ...]  # tensors replaced by values
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]  # every value among args and kwargs, in order
    outputs: tuple[Value | None, ...]
    live: bool  # some input requires a gradient
    mutates: bool
    number: bool | int | float | complex | None = None  # what Python read by it

    @property
    def name(self) -> str:
        """The operation's name, as `aten.addmm.default`."""
        return str(self.op)
