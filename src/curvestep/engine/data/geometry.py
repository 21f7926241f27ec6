"""Where a strided tensor lies in its storage, and moving elements between two tensors that share one."""

from __future__ import annotations

import torch
from torch import Tensor

Geometry = tuple[tuple[int, ...], tuple[int, ...], int]  # size, stride, storage offset


def geometry_of(tensor: Tensor) -> Geometry:
    """Where a tensor lies."""
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def storage_of(tensor: Tensor) -> int:
    """A number that tensors with one storage share, 0 for a sparse one."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0


def is_lazy(tensor: Tensor) -> bool:
    """Whether its elements are the conjugates or negatives of what lies in its storage."""
    return tensor.is_neg() or (tensor.is_complex() and tensor.is_conj())


def flat_buffer(like: Tensor, *geometries: Geometry) -> Tensor:
    """A zero buffer long enough to hold every geometry."""
    reach = [
        offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 for size, stride, offset in geometries
    ]
    return like.new_zeros(max(reach))


def put(old: Tensor | None, written: Tensor | None, target: Geometry, source: Geometry) -> Tensor | None:
    """`old`, of geometry `target`, with `written`, of geometry `source`, put in; a missing tensor is zero."""
    like = written if written is not None else old
    if like is None:
        return None
    buffer = flat_buffer(like, target, source)
    if old is not None:
        buffer.as_strided(*target).copy_(old)
    window = buffer.as_strided(*source)
    window.zero_() if written is None else window.copy_(written)
    return buffer.as_strided(*target).clone()


def regather(tensor: Tensor, source: Geometry, target: Geometry) -> Tensor:
    """Read the elements of geometry `target` out of a tensor that fills geometry `source` of the same storage."""
    found = put(None, tensor, target, source)
    assert found is not None
    return found


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape; () for a nested tensor of strided layout, which has none, and no rules that would read it."""
    try:
        return tuple(tensor.shape)
    except RuntimeError:
        return ()


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to; −1 in inference mode, where nobody counts."""
    try:
        return tensor._version
    except RuntimeError:
        return -1
