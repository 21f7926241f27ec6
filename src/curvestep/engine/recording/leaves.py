"""Tensors that no recorded operation made: what they are, and the sentences that refuse one changed past autograd."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from curvestep._shards import PLAIN, is_sharded
from curvestep.engine.data.geometry import shape_of, storage_of, version_of
from curvestep.engine.data.recording import Opaque, Recording
from curvestep.engine.data.value import Value


def place_of(tensor: Tensor) -> int:
    """The address of a tensor's data, 0 where it has none of its own."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # sparse, or fake
        return 0


def new_leaf(recording: Recording, tensor: Tensor) -> Value:
    """Enter a tensor as a leaf with the data that it has now."""
    value = Value(shape_of(tensor), tensor.dtype, None, 0)
    value.needs_grad = tensor.requires_grad
    value.data, value.version = tensor, version_of(tensor)
    if value.needs_grad:
        if tensor.is_leaf:
            value.place = place_of(tensor)
        if type(tensor) not in PLAIN and is_sharded(tensor):
            recording.opaque.append(computed_in_shards(value))
    enter_leaf(recording, tensor, value)
    return value


def enter_leaf(recording: Recording, tensor: Tensor, value: Value) -> None:
    """Enter a leaf under its tensor; of several values of one tensor, the last that requires a gradient moves."""
    leaves = recording.leaves
    former = leaves.get(id(tensor))
    if former is not None:
        if former[1].needs_grad and not value.needs_grad:
            leaves[id(value)] = (tensor, value)
            return
        leaves[id(former[1])] = former
    leaves[id(tensor)] = (tensor, value)


def part_from_gradients(recording: Recording, returned: Sequence[Tensor | None]) -> None:
    """Copy the cotangents that share memory with a gradient: who clips, zeroes or adds to that would change them.

    It is so where a parameter enters through a view, without broadcasting.
    """
    found = [t.grad for t, v in recording.leaves.values() if v.place]
    held = {storage_of(g) for g in (*found, *returned) if g is not None} - {0}
    for slot in recording.log.slots:
        cotangent = slot.cotangent
        if cotangent is not None and storage_of(cotangent) in held:
            slot.cotangent = cotangent.clone()


def unpacked(tensor: Tensor, value: Value) -> Value | None:
    """The output of an operation that autograd had saved and now unpacks, for a gradient inside the forward.

    It comes as a copy, detached twice, to which autograd then gives the graph of the saved one.

    Returns:
        The value of the saved output; None where the tensor is something else.
    """
    if isinstance(tensor.grad_fn, BackwardCFunction):
        return None
    while value.origin is not None and (rule := value.origin.rule) is not None and rule.detaches:
        value = value.origin.inputs[0]
    return value if value.needs_grad else None


def foreign(value: Value) -> Opaque:
    """A tensor that came in with a gradient graph of its own."""
    return _refused(
        value,
        "The whole forward was needed inside the recording, but a tensor that already carried a gradient graph came in "
        f"from outside, at a tensor of shape {value.shape}. Move the forward pass inside `with record():`, or detach "
        "it where it is to count as a constant.",
    )


def computed_in_shards(value: Value) -> Opaque:
    """A DTensor on which operations run, so that each process computes a part of every value."""
    return _refused(
        value,
        "Operations on whole tensors were needed, but at one of shape "
        f"{value.shape} the forward computes with DTensors, as tensor parallelism does. Shard parameters with "
        "fully_shard alone, or take ALIG, or EGStepSize around an optimizer of torch, which measure nothing on the "
        "recording.",
    )


def elsewhere(value: Value) -> Opaque:
    """A gathered parameter whose shards lie on another device."""
    return _refused(
        value,
        "Shards on the device of the forward were needed, but those of the parameter of shape "
        f"{value.shape} lie elsewhere (CPUOffloadPolicy). Leave offload_policy out.",
    )


def overwritten(value: Value) -> Opaque:
    """A leaf that was read, then written past autograd or replaced, and read again."""
    return _refused(
        value,
        f"One set of parameters for the whole forward was needed, but the tensor of shape {value.shape} was written to "
        "between two uses of it (through .data or under torch.no_grad). Write to it before the first use, or use a "
        "copy.",
    )


def past_autograd(value: Value) -> Opaque:
    """A tensor with a gradient into which something was written that autograd does not know of."""
    return _refused(
        value,
        f"Writes that autograd sees were needed, but the tensor of shape {value.shape} carries a gradient and was "
        "written to through .data, a detached view or under torch.no_grad, so that its gradient is not that of the "
        "recorded forward. Do without the in-place write, or write through the tensor itself.",
    )


def through_other_numbers(value: Value) -> Opaque:
    """A tensor written through a view whose elements are parts, conjugates or negatives of its own."""
    return _refused(
        value,
        f"Writes through views of the same numbers were needed, but the {value.dtype} tensor of shape {value.shape} "
        "was written to through a view of its real or imaginary part, a conjugate, or as another dtype, which a "
        "recording does not follow. Make a new tensor out of the parts (torch.complex, torch.where).",
    )


def _refused(value: Value, sentence: str) -> Opaque:
    return Opaque(value, "tensor", None, sentence, sentence)
