"""Operations of which torch lacks a derivative or has it wrong, written as others while a truth is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def log_sums(x: Tensor, dim: int) -> Tensor:
    """log Σ_{j ≤ i} exp(x_j) along an axis, each entry by a sum of its own."""
    return torch.stack([x.narrow(dim, 0, i + 1).logsumexp(dim) for i in range(x.shape[dim])], dim)


def _contiguous(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same normalisation, given activations and gradients that are contiguous."""

    def made(x: Tensor, *args: Any, **options: Any) -> Tensor:
        out = norm(x.contiguous(), *args, **options)
        if out.requires_grad:
            out.register_hook(Tensor.contiguous)
        return out

    return made


_WRITTEN: dict[Any, Callable[..., Tensor]] = {
    # Their backward takes the logarithm of the incoming gradient. Where this is zero, as behind a mask or a maximum,
    # the derivative of that logarithm is wrong or NaN.
    torch.logcumsumexp: log_sums,
    Tensor.logcumsumexp: log_sums,
    # Their gradient is wrong on a CPU where activations or the incoming gradient, and not both, look channels-last by
    # an axis of size 1.
    F.batch_norm: _contiguous(F.batch_norm),
    F.instance_norm: _contiguous(F.instance_norm),
}


class _Written(TorchFunctionMode):
    """Calls of an operation with an explicit form go to that form."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = _WRITTEN.get(func, func)
        return made(*args, **(kwargs or {}))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """What runs inside has derivatives that are right, twice: attention in its plain form, and explicit forms."""
    with sdpa_kernel(SDPBackend.MATH), _Written():
        yield
