"""Operations on lists of tensors, their reductions, and a division that says no instead of giving infinity.

The entrywise operations are those that ``torch.optim`` itself is written in: one launch for a whole list of tensors.
torch gives them no public name, so they are called here and nowhere else. A trailing underscore writes into the first
list; without it new tensors are returned. Lists may mix dtypes and devices; torch then goes tensor by tensor.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


_SIXTEEN_BITS = (torch.float16, torch.bfloat16)
#: The dtypes of which sums are formed without a change.
_SUMMED = (torch.float32, torch.float64)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which state is kept and sums are formed: float32 for the 16-bit types, else ``dtype``."""
    return torch.float32 if dtype in _SIXTEEN_BITS else dtype


# A call of ``Tensor.to`` that has nothing to do still costs a microsecond, and a step makes hundreds of them.


def widened(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 if it has a 16-bit dtype, else the same object."""
    return tensor.to(torch.float32) if tensor.dtype in _SIXTEEN_BITS else tensor


def real(tensor: Tensor) -> Tensor:
    """Return a complex tensor as pairs of real and imaginary parts, shape (…, 2); a real one as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _summed(tensor: Tensor) -> Tensor:
    """Return the tensor as sums are formed of it: real, and not in 16 bits."""
    dtype = tensor.dtype
    return tensor if dtype is torch.float32 or dtype is torch.float64 else real(widened(tensor))


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in a dtype, the same object where it has it."""
    if tensor.dtype is dtype:
        return tensor
    return (torch.view_as_complex(tensor) if dtype.is_complex and not tensor.is_complex() else tensor).to(dtype)


def in_working_dtype(tensors: Tensors) -> list[Tensor]:
    """Return the tensors with 16-bit ones widened to float32; the others are the same objects, not copies."""
    return [widened(tensor) for tensor in tensors]


def add(left: Tensors, right: Tensors, alpha: float = 1.0) -> list[Tensor]:
    """Return left + alpha · right."""
    return list(torch._foreach_add(list(left), list(right), alpha=alpha))


def add_(left: Tensors, right: Tensors, alpha: float = 1.0) -> None:
    """Write left ← left + alpha · right."""
    if on_host(left):  # where there is no launch to save, a call for the whole list takes longer than the calls in it
        for a, b in zip(left, right, strict=True):
            a.add_(b, alpha=alpha)
    else:
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


# The numbers of an operation that has one for each tensor are floats, or tensors of shape () on the tensors' devices.
# torch would read the latter off as floats, which waits for the device and puts a constant into a graph that is traced:
# they go tensor by tensor.
Numbers = Sequence[float | Tensor]


def divide_each(tensors: Tensors, numbers: Numbers) -> list[Tensor]:
    """Return tensor_i / number_i."""
    floats = _floats(numbers)
    if floats is None:
        return [tensor / number for tensor, number in zip(tensors, numbers, strict=True)]
    return list(torch._foreach_div(list(tensors), floats))


def divide_each_(tensors: Tensors, numbers: Numbers) -> None:
    """Write tensor_i ← tensor_i / number_i."""
    _each_(torch._foreach_div_, Tensor.div_, tensors, numbers)


def scale_each_(tensors: Tensors, numbers: Numbers) -> None:
    """Write tensor_i ← number_i · tensor_i."""
    _each_(torch._foreach_mul_, Tensor.mul_, tensors, numbers)


def shift_each_(tensors: Tensors, numbers: Numbers) -> None:
    """Write tensor_i ← tensor_i + number_i."""
    _each_(torch._foreach_add_, Tensor.add_, tensors, numbers)


def _each_(
    at_once: Callable[[list[Tensor], list[float]], Any], one: Callable[..., Any], tensors: Tensors, numbers: Numbers
) -> None:
    """Run an operation in place on each tensor with its number: at once where all numbers are floats."""
    floats = _floats(numbers)
    if floats is not None:
        at_once(list(tensors), floats)
        return
    for tensor, number in zip(tensors, numbers, strict=True):
        one(tensor, number)


def _floats(numbers: Numbers) -> list[float] | None:
    """Return the numbers where all of them are floats, else None."""
    floats: list[float] = [number for number in numbers if not isinstance(number, Tensor)]
    return floats if len(floats) == len(numbers) else None


def lerp(start: Tensors, end: Tensors, weight: float) -> list[Tensor]:
    """Return start + weight · (end − start)."""
    return list(torch._foreach_lerp(list(start), list(end), weight))


def lerp_(start: Tensors, end: Tensors, weight: float) -> None:
    """Write start ← start + weight · (end − start)."""
    if on_host(start):  # as in add_
        for a, b in zip(start, end, strict=True):
            a.lerp_(b, weight)
    else:
        torch._foreach_lerp_(list(start), list(end), weight)


def add_squares_(tensors: Tensors, roots: Tensors, factor: float) -> None:
    """Write tensors ← tensors + factor · roots², entry by entry."""
    torch._foreach_addcmul_(list(tensors), list(roots), list(roots), factor)


def sqrt(tensors: Tensors) -> list[Tensor]:
    """Return √tensors, entry by entry."""
    return list(torch._foreach_sqrt(list(tensors)))


# What ``torch.optim.Adam(fused=True)`` runs on; other devices have the kernel too, but it is not tested there.
_FUSED = ("cpu", "cuda")


def fuses_adam(gradients: Tensors, firsts: Tensors, seconds: Tensors) -> bool:
    """Whether ``fused_adam_`` can be given these: it walks through memory, and must find the same entries in all."""
    device, dtype = (gradients[0].device, gradients[0].dtype) if gradients else (None, None)
    if device is None or device.type not in _FUSED or dtype not in (torch.float32, torch.float64):
        return False
    for gradient, first, second in zip(gradients, firsts, seconds, strict=True):
        if not gradient.dtype == first.dtype == second.dtype == dtype:
            return False
        if not gradient.device == first.device == second.device == device:
            return False
        if gradient.is_contiguous() and first.is_contiguous() and second.is_contiguous():
            continue
        if not gradient.stride() == first.stride() == second.stride() or not _as_in_memory(first).is_contiguous():
            return False
    return True


def fused_adam_(
    gradients: Tensors,
    firsts: Tensors,
    seconds: Tensors,
    steps: Sequence[int],
    beta1: float,
    beta2: float,
    eps: float,
) -> list[Tensor]:
    """Write m ← β₁ m + (1−β₁) g and v ← β₂ v + (1−β₂) g², and make the direction for the k in ``steps``.

    Returns:
        m̃ / (√ṽ + ε). The kernel is that of the optimizer, which writes θ ← θ − lr m̃ / (√ṽ + ε): here
        for θ = 0 and lr = −1.
    """
    direction = [torch.zeros_like(first) for first in firsts]
    counts = {step: torch.full((), float(step), device=direction[0].device) for step in set(steps)}
    torch._fused_adam_(
        direction,
        list(gradients),
        list(firsts),
        list(seconds),
        [],
        [counts[step] for step in steps],
        lr=-1.0,
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )
    return direction


def dot(left: Tensors, right: Tensors) -> Tensor:
    """Return Σ_i ⟨left_i, right_i⟩ as a 0-d tensor on the first tensor's device; zero for empty lists.

    Sums are formed in float32 for 16-bit tensors and in the tensors' own dtype otherwise.
    """
    return total(dots(left, right))


def squared_norm(tensors: Tensors) -> Tensor:
    """Return Σ_i ‖tensor_i‖² as a 0-d tensor on the first tensor's device; zero for an empty list.

    The squares are summed in float32 for 16-bit tensors and in the tensors' own dtype otherwise.
    """
    return total(squares(tensors))


def dots(left: Tensors, right: Tensors) -> list[Tensor]:
    """Return ⟨left_i, right_i⟩ for each i, of shape (): the terms of ``dot``, to be summed on the host.

    Complex numbers count as pairs of real ones: ⟨a, b⟩ = Re Σ ā b.
    """
    return [
        torch.dot(a.view(-1), b.view(-1)) if _is_line(a) and _is_line(b) else torch.dot(*_lines(_summed(a), _summed(b)))
        for a, b in zip(left, right, strict=True)
    ]


def squares(tensors: Tensors) -> list[Tensor]:
    """Return ‖tensor_i‖² for each i, of shape (): the terms of ``squared_norm``, to be summed on the host."""
    if on_host(tensors):
        lines = [tensor.view(-1) if _is_line(tensor) else _line(_summed(tensor)) for tensor in tensors]
        return [torch.dot(line, line) for line in lines]
    return [norm * norm for norm in torch._foreach_norm(in_working_dtype(tensors))]


def on_host(tensors: Tensors) -> bool:
    """Whether all tensors lie in the memory of the host, where reading a number waits for nothing."""
    return all([tensor.is_cpu for tensor in tensors])


def to_host(*scalars: Tensor) -> list[float]:
    """Return 0-d tensors as floats with a single synchronisation of their device."""
    if on_host(scalars):
        return [float(scalar) for scalar in scalars]
    device = scalars[0].device
    # float64 keeps every bit of what it is given; devices without it (MPS) get float32.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    return torch.stack([scalar.to(device=device, dtype=dtype) for scalar in scalars]).tolist()


def sums_to_host(*sums: Tensors) -> list[float]:
    """Return for each list of 0-d tensors the sum of its numbers, formed in float64, with a single synchronisation."""
    every = [term for terms in sums for term in terms]
    if on_host(every):
        return [sum([float(term) for term in terms]) for terms in sums]
    values = iter(to_host(*every))
    return [sum([next(values) for _ in terms]) for terms in sums]


def ratio(numerator: float, denominator: float) -> float | None:
    """Return numerator / denominator, or None where the quotient is not a finite number."""
    if denominator == 0.0:
        return None
    quotient = numerator / denominator
    return quotient if math.isfinite(quotient) else None


def total(scalars: Tensors) -> Tensor:
    """Return the sum of 0-d tensors that may lie on several devices."""
    if not scalars:
        return torch.zeros(())
    device = scalars[0].device
    return torch.stack([scalar if scalar.device == device else scalar.to(device) for scalar in scalars]).sum()


def _is_line(tensor: Tensor) -> bool:
    """Whether sums are formed of a tensor as it is, from entries that lie in memory side by side."""
    return tensor.dtype in _SUMMED and tensor.is_contiguous()


def _line(tensor: Tensor) -> Tensor:
    """Return the entries of a tensor in one row, in any order; a view where they lie in memory side by side."""
    return tensor.view(-1) if tensor.is_contiguous() else _lines(tensor, tensor)[0]


def _lines(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tensors with their entries in one row and in the same order; views where memory has such an order."""
    if left.is_contiguous() and right.is_contiguous():
        return left.view(-1), right.view(-1)
    if left.stride() == right.stride():
        left, right = _as_in_memory(left), _as_in_memory(right)
    return left.reshape(-1), right.reshape(-1)


def _as_in_memory(tensor: Tensor) -> Tensor:
    """Return a view whose axes lie in the order of their strides: contiguous if the entries fill their memory."""
    strides = tensor.stride()
    return tensor.permute(sorted(range(tensor.dim()), key=lambda axis: strides[axis], reverse=True))
