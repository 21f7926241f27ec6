"""Parameters of which each process holds a shard: the forward reads them gathered, and gives the memory back after it.

``fully_shard`` puts the gathered parameter in the place of the one that the optimizer knows for the time of a module's
forward. A recording holds the latter, and a pass gathers it again, with its tangent, where an operation reads it.
"""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.nn import Parameter

from curvestep._shards import gathered_parameters, is_sharded, shards_exist
from curvestep.engine.data.geometry import shape_of, version_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import Node, Value
from curvestep.engine.recording import leaves


def may_be_gathered(tensor: Tensor) -> bool:
    """Whether a tensor can be such a parameter, which most recordings have none of."""
    return shards_exist() and isinstance(tensor, Parameter)


@final
class Shards:
    """What the gathered parameters that a forward reads were gathered from."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        self.frozen: set[Value] = set()  # such leaves that are constants, and what was made of them alone

    def leaf(self, recording: Recording, tensor: Tensor) -> Value | None:
        """Return the leaf of a gathered parameter, one for all its uses; None for any other parameter."""
        entry = self._known.get(id(tensor))
        if entry is None:
            self._known = {id(gathered): (gathered, shard) for gathered, shard in gathered_parameters()}
            entry = self._known.get(id(tensor))
        if entry is None or entry[0] is not tensor or is_sharded(tensor):
            return None
        shard = entry[1]
        known = recording.leaves.get(id(shard))
        if known is not None:
            return known[1]
        value = Value(shape_of(tensor), tensor.dtype, None, 0)
        value.needs_grad = tensor.requires_grad
        value.data, value.version = shard, version_of(shard)
        recording.replays = True  # what was computed from it may be views of memory that is given back
        leaves.enter_leaf(recording, shard, value)
        if not value.needs_grad:
            self.frozen.add(value)
        elif shard.device != tensor.device:
            recording.opaque.append(leaves.elsewhere(value))
        return value

    def follow(self, node: Node) -> None:
        """Note what an operation without gradients made of frozen parameters: it may be a view of their memory."""
        if any(value in self.frozen for value in node.inputs):
            self.frozen.update(value for value in node.outputs if value is not None)
