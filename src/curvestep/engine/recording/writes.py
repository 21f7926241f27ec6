"""In-place writes: which values were written into a storage, so that other views of it can be read anew."""

from __future__ import annotations

from typing import final

from torch import Tensor

from curvestep.engine.data.geometry import Geometry, geometry_of, is_lazy, storage_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import STALE, Node, Value
from curvestep.engine.rules.alias import ALIAS_UPDATE
from curvestep.engine.rules.table import RULES

#: The value that was written, where it lies, and whether its elements are conjugates or negatives of what lies there.
Write = tuple[Value, Geometry, bool]


@final
class Writes:
    """The writes of a recording, by storage.

    An address may come back after its storage was freed: a value made later counts the writes that it finds there as
    its past.
    """

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of: dict[int, list[Write]] = {}

    def count(self, tensor: Tensor) -> int:
        """How many writes the storage of a tensor has seen."""
        return len(self.of.get(storage_of(tensor), ()))

    def since(self, tensor: Tensor, value: Value) -> list[Write]:
        """The writes into the storage of a tensor that its value has not seen."""
        return self.of.get(storage_of(tensor), [])[value.epoch :]

    def add(self, tensor: Tensor, output: Value) -> None:
        """Note what an operation wrote."""
        log = self.of.setdefault(storage_of(tensor), [])
        log.append((output, geometry_of(tensor), is_lazy(tensor)))
        output.epoch = len(log)

    def age(self, recording: Recording) -> None:
        """Have passes refuse the leaves that were written to since they were read, past their version counter too."""
        for tensor, value in recording.leaves.values():
            if value.data is tensor and self.count(tensor) > value.epoch:
                value.version = STALE


def put_in(tensor: Tensor, value: Value, written: Value, geometry: Geometry, hidden: bool) -> tuple[Node, Value]:
    """The operation of the tape that makes the value of a tensor after a write through another view of its storage.

    Args:
        tensor: what is read again.
        value: its value before.
        written: what was written.
        geometry: where that lies.
        hidden: whether it happened beneath autograd, so that a gradient may show later.

    Returns:
        That operation, to be appended, and the value.
    """
    # A write of constants into constants is noted too: the samples may come in by it (shifted target tokens).
    live = value.needs_grad or written.needs_grad
    for constant, where in ((value, geometry_of(tensor)), (written, geometry)) if live or hidden else ():
        if not constant.needs_grad and constant.data is None:  # a replay writes it again
            constant.data = tensor.detach().as_strided(*where).clone()
    args = (value, written, geometry_of(tensor), geometry)
    node = Node(ALIAS_UPDATE, RULES[ALIAS_UPDATE], args, {}, (value, written), (), live, False)
    fresh = Value(tuple(tensor.shape), tensor.dtype, node, 0)
    fresh.needs_grad = tensor.requires_grad and not hidden
    node.outputs = (fresh,)
    return node, fresh
