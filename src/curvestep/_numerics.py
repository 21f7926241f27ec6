"""Operations on lists of tensors, their reductions, and a division that says no instead of giving infinity.

The entrywise operations are those that ``torch.optim`` itself is written in: one launch for a whole list of tensors.
torch gives them no public name, so they are called here and nowhere else. A trailing underscore writes into the first
list; without it new tensors are returned. Lists may mix dtypes and devices; torch then goes tensor by tensor.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


_SIXTEEN_BITS = (torch.float16, torch.bfloat16)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which state is kept and sums are formed: float32 for the 16-bit types, else ``dtype``."""
    return torch.float32 if dtype in _SIXTEEN_BITS else dtype


# A call of ``Tensor.to`` that has nothing to do still costs a microsecond, and a step makes hundreds of them.


def widened(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 if it has a 16-bit dtype, else the same object."""
    return tensor.to(torch.float32) if tensor.dtype in _SIXTEEN_BITS else tensor


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in a dtype, the same object where it has it."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def in_working_dtype(tensors: Tensors) -> list[Tensor]:
    """Return the tensors with 16-bit ones widened to float32; the others are the same objects, not copies."""
    return [widened(tensor) for tensor in tensors]


def add(left: Tensors, right: Tensors, alpha: float = 1.0) -> list[Tensor]:
    """Return left + alpha · right."""
    return list(torch._foreach_add(list(left), list(right), alpha=alpha))


def add_(left: Tensors, right: Tensors, alpha: float = 1.0) -> None:
    """Write left ← left + alpha · right."""
    torch._foreach_add_(list(left), list(right), alpha=alpha)


def shift_(tensors: Tensors, number: float) -> None:
    """Write tensors ← tensors + number."""
    torch._foreach_add_(list(tensors), number)


def scale(tensors: Tensors, factor: float) -> list[Tensor]:
    """Return factor · tensors."""
    return list(torch._foreach_mul(list(tensors), factor))


def scale_(tensors: Tensors, factor: float) -> None:
    """Write tensors ← factor · tensors."""
    torch._foreach_mul_(list(tensors), factor)


def divide(left: Tensors, right: Tensors) -> list[Tensor]:
    """Return left / right, entry by entry."""
    return list(torch._foreach_div(list(left), list(right)))


def divide_(left: Tensors, right: Tensors) -> None:
    """Write left ← left / right, entry by entry."""
    torch._foreach_div_(list(left), list(right))


def divide_each_(tensors: Tensors, numbers: Sequence[float]) -> None:
    """Write tensor_i ← tensor_i / number_i."""
    torch._foreach_div_(list(tensors), list(numbers))


def lerp(start: Tensors, end: Tensors, weight: float) -> list[Tensor]:
    """Return start + weight · (end − start)."""
    return list(torch._foreach_lerp(list(start), list(end), weight))


def lerp_(start: Tensors, end: Tensors, weight: float) -> None:
    """Write start ← start + weight · (end − start)."""
    torch._foreach_lerp_(list(start), list(end), weight)


def add_squares_(tensors: Tensors, roots: Tensors, factor: float) -> None:
    """Write tensors ← tensors + factor · roots², entry by entry."""
    torch._foreach_addcmul_(list(tensors), list(roots), list(roots), factor)


def sqrt_(tensors: Tensors) -> None:
    """Write tensors ← √tensors, entry by entry."""
    torch._foreach_sqrt_(list(tensors))


def dot(left: Tensors, right: Tensors) -> Tensor:
    """Return Σ_i ⟨left_i, right_i⟩ as a 0-d tensor on the first tensor's device; zero for empty lists.

    Sums are formed in float32 for 16-bit tensors and in the tensors' own dtype otherwise.
    """
    products = [torch.dot(widened(a).reshape(-1), widened(b).reshape(-1)) for a, b in zip(left, right, strict=True)]
    return _sum_scalars(products)


def squared_norm(tensors: Tensors) -> Tensor:
    """Return Σ_i ‖tensor_i‖² as a 0-d tensor on the first tensor's device; zero for an empty list.

    The squares are summed in float32 for 16-bit tensors and in the tensors' own dtype otherwise.
    """
    if not tensors:
        return _sum_scalars([])
    return _sum_scalars([norm * norm for norm in _norms(in_working_dtype(tensors))])


def to_host(*scalars: Tensor) -> list[float]:
    """Return 0-d tensors as floats with a single synchronisation of their device."""
    device = scalars[0].device
    # float64 keeps every bit of what it is given; devices without it (MPS) get float32.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    return torch.stack([scalar.to(device=device, dtype=dtype) for scalar in scalars]).tolist()


def ratio(numerator: float, denominator: float) -> float | None:
    """Return numerator / denominator, or None where the quotient is not a finite number."""
    if denominator == 0.0:
        return None
    quotient = numerator / denominator
    return quotient if math.isfinite(quotient) else None


def _sum_scalars(scalars: list[Tensor]) -> Tensor:
    """Return the sum of 0-d tensors that may lie on several devices."""
    if not scalars:
        return torch.zeros(())
    device = scalars[0].device
    return torch.stack([scalar if scalar.device == device else scalar.to(device) for scalar in scalars]).sum()


def _norms(tensors: Tensors) -> list[Tensor]:
    """Return the Euclidean norm of each tensor, of shape ()."""
    return list(torch._foreach_norm(list(tensors)))
