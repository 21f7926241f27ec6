"""The list operations that ``torch.optim`` itself is written in, typed: one launch for a whole list of tensors.

torch gives them no public name, so they are called here and nowhere else. A trailing underscore writes into the first
list; without it new tensors are returned. Lists may mix dtypes and devices; torch then goes tensor by tensor.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


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


def norms(tensors: Tensors) -> list[Tensor]:
    """Return the Euclidean norm of each tensor, of shape ()."""
    return list(torch._foreach_norm(list(tensors)))
