"""Tensors of which each process holds a shard (`DTensor`), as ``fully_shard`` makes parameters of them.

Arithmetic runs on what a process holds, in the memory of the whole: entry by entry it is that of the whole tensor, and
a sum over entries is the sum over the processes of their own sums.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Parameter

#: The types of tensors of which a process holds all: nearly every one, and told apart without a call for each.
PLAIN = frozenset({Tensor, Parameter})


def is_sharded(tensor: object) -> bool:
    """Whether a tensor is one of which a process holds a shard; asked without loading what defines them."""
    kind = type(tensor)
    return kind not in PLAIN and hasattr(kind, "device_mesh")


def any_sharded(tensors: Iterable[object]) -> bool:
    """Whether one of them is sharded."""
    return any([hasattr(kind, "device_mesh") for kind in set(map(type, tensors)) - PLAIN])


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, detached and in the same memory; a plain tensor itself."""
    return _local(tensor) if is_sharded(tensor) else tensor


def locals_of(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return what this process holds of each tensor; the list itself where all of them are plain."""
    return [local(tensor) for tensor in tensors] if any_sharded(tensors) else tensors


def pieces(tensor: Any) -> int:
    """Return into how many shards a tensor is cut; other processes hold copies of one of them."""
    if not is_sharded(tensor):
        return 1
    sizes = [tensor.device_mesh.size(axis) for axis, each in enumerate(tensor.placements) if not each.is_replicate()]
    return math.prod(sizes)


def counted(terms: Sequence[Tensor], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return each process's terms of a sum over entries so that their mean over the processes is that of the whole.

    Args:
        terms: For each tensor a number of what this process holds of it.
        tensors: The tensors, or others that are cut in the same way.
    """
    if not any_sharded(tensors):
        return terms
    return [term * pieces(tensor) if is_sharded(tensor) else term for term, tensor in zip(terms, tensors, strict=True)]


def held_of(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return of a loaded tensor what this process holds, cut as the parameter is or whole as that is."""
    if is_sharded(parameter):
        return local(tensor) if is_sharded(tensor) or tensor.shape != parameter.shape else piece_of(tensor, parameter)
    return whole(tensor)


def placed_as(held: Tensor, like: Any) -> Tensor:
    """Return what a process holds as a tensor that is cut as ``like`` is, in the same memory; plain for a plain one."""
    if not is_sharded(like) or is_sharded(held):
        return held
    return type(like).from_local(
        held, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def aligned(tensor: Any, like: Any) -> Tensor:
    """Return a tensor cut as ``like`` is; a gradient may have been left as one that is still to be summed."""
    if not is_sharded(tensor) or not is_sharded(like) or tensor.placements == like.placements:
        return tensor
    return tensor.redistribute(placements=like.placements)


def whole(tensor: Any) -> Tensor:
    """Return all of a tensor, gathered from the processes, which must all ask; a plain one is returned itself."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def piece_of(tensor: Tensor, like: Any) -> Tensor:
    """Return of a whole tensor what this process would hold if it were cut as ``like`` is."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return local(distribute_tensor(tensor.detach(), like.device_mesh, like.placements, src_data_rank=None))


def _local(tensor: Any) -> Tensor:
    return tensor.detach().to_local()


# -- what ``fully_shard`` keeps; torch has no public way from a parameter to it ---------------------------------------


def shards_exist() -> bool:
    """Whether ``fully_shard`` was called on any module that there still is."""
    states = _states()  # asked of every leaf of every recording
    return states is not None and len(states) > 0


def gathered_parameters() -> Iterable[tuple[Tensor, Tensor]]:
    """Return every gathered parameter that there is, and what it is gathered from."""
    return (
        (parameter._unsharded_param, parameter.sharded_param)
        for group in _groups()
        for parameter in group.fsdp_params
        if hasattr(parameter, "_unsharded_param")
    )


def forget_gathered(tensors: Sequence[Tensor]) -> None:
    """Have parameters that were written to gathered anew: after a forward without a backward some stay gathered."""
    written = {id(tensor) for tensor in tensors if is_sharded(tensor)}
    for group in _groups() if written else ():
        if group.is_unsharded and any(id(parameter.sharded_param) in written for parameter in group.fsdp_params):
            group.reshard()


def _states() -> Any:
    return getattr(sys.modules.get("torch.distributed._composable_state"), "_module_state_mapping", None)


def _groups() -> Iterator[Any]:
    for reference in list((_states() or {}).values()):
        state = reference()
        groups = getattr(state, "_fsdp_param_groups", None)  # torch 2.10 has one
        yield from (
            group
            for group in ([getattr(state, "_fsdp_param_group", None)] if groups is None else groups)
            if group is not None
        )
