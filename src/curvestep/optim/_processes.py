"""Several processes that train one model: the numbers of a step that are each process's own, averaged over all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from curvestep._errors import CurvestepError
from curvestep._numerics import as_dtype, real
from curvestep._shards import piece_of
from curvestep.optim._gather import Sums
from curvestep.optim._proof import RECORDED_SLOPE
from curvestep.optim._window_names import WINDOW_OWN

#: Which processes share a model: torch's default group, one of the user's own, or None for a process on its own.
if TYPE_CHECKING:
    Group = dist.ProcessGroup | Literal["default"] | None
else:
    Group = Any  # a build of torch without processes has no such class

#: The numbers of a step that each process has of its own samples. All others are made of `p.grad` and of parameters,
#: which are the same everywhere.
OWN = ("loss", "curvature", "absolute_curvature", RECORDED_SLOPE, *WINDOW_OWN)


_ALONE = (
    "The processes that share the model were needed, because each holds only a part of some parameter (a DTensor), but "
    "process_group says that this one trains alone. Leave process_group at 'default', or set it to the group of all "
    "processes that hold the model's shards."
)


def is_shared(group: Group) -> bool:
    """Whether more than one process trains the model."""
    if group is None or not (dist.is_available() and dist.is_initialized()):
        return False
    return dist.get_world_size(None if group == "default" else group) > 1


def require_together(group: Group) -> None:
    """Refuse to step shards without the processes that hold the others."""
    if not is_shared(group) and dist.get_world_size() > 1:
        raise CurvestepError(_ALONE)


def averaged(tensors: Sequence[Tensor], group: Group) -> list[Tensor]:
    """Return the mean over the processes of each tensor, by one all-reduce; the tensors themselves in one process.

    The loss is the mean over the processes of their losses, as the gradient is that DistributedDataParallel leaves.
    """
    if not is_shared(group) or not tensors:
        return list(tensors)
    own = None if group == "default" else group
    device = tensors[0].device
    dtype = real(tensors[0]).dtype
    flat = torch.cat([real(tensor.detach()).reshape(-1).to(device, dtype) for tensor in tensors])
    dist.all_reduce(flat, group=own)
    pieces = (flat / dist.get_world_size(own)).split([real(tensor).numel() for tensor in tensors])
    found = [piece.view_as(real(tensor)) for piece, tensor in zip(pieces, tensors, strict=True)]
    return [as_dtype(piece.to(tensor.device), tensor.dtype) for piece, tensor in zip(found, tensors, strict=True)]


def gradient_of_all(found: Sequence[Tensor], parameters: Sequence[Tensor], group: Group) -> list[Tensor]:
    """Return the mean over the processes of their gradients, of a sharded parameter what this process holds of it.

    Args:
        found: For each parameter the whole gradient of this process's loss.
        parameters: The parameters.
        group: The processes.

    Cost:
        One all-reduce as large as the model, sharded or not.
    """
    return [piece_of(mean, p) for mean, p in zip(averaged(found, group), parameters, strict=True)]


def shared_sums(sums: Sums, group: Group, sharded: bool) -> Sums:
    """Return the numbers of a step averaged over the processes: each process's own, and of shards every one."""
    if sharded:
        require_together(group)
    if not is_shared(group):
        return sums
    names = [name for name in sums if sharded or name in OWN]
    wide = [torch.stack([term.to(torch.float64) for term in sums[name]]).sum() for name in names]
    return {**sums, **{name: [mean] for name, mean in zip(names, averaged(wide, group), strict=True)}}
