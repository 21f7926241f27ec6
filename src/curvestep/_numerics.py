"""Reductions over lists of tensors, and a division that says no instead of giving infinity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from curvestep import _foreach


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which state is kept and sums are formed: float32 for the 16-bit types, else ``dtype``."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def in_working_dtype(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors with 16-bit ones widened to float32; the others are the same objects, not copies."""
    return [tensor.to(working_dtype(tensor.dtype)) for tensor in tensors]


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return Σ_i ⟨left_i, right_i⟩ as a 0-d tensor on the first tensor's device; zero for empty lists.

    Sums are formed in float32 for 16-bit tensors and in the tensors' own dtype otherwise.
    """
    products = [
        torch.dot(a.reshape(-1), b.reshape(-1))
        for a, b in zip(in_working_dtype(left), in_working_dtype(right), strict=True)
    ]
    return _sum_scalars(products)


def squared_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return Σ_i ‖tensor_i‖² as a 0-d tensor on the first tensor's device; zero for an empty list.

    The squares are summed in float32 for 16-bit tensors and in the tensors' own dtype otherwise.
    """
    if not tensors:
        return _sum_scalars([])
    return _sum_scalars([norm * norm for norm in _foreach.norms(in_working_dtype(tensors))])


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
    return torch.stack([scalar.to(device) for scalar in scalars]).sum()
