"""A loss to check, and its derivatives along a direction by two routes that do not pass through the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from curvestep._numerics import real

DIFFERENCE_STEP = 2.0**-5


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """A loss to check: the recorded form of it and the terms it is the mean of.

    Attributes:
        params: the leaves that move; complex ones count as pairs of real numbers.
        direction: one tensor a parameter, of its shape and dtype.
        loss: J, a scalar, made anew at every call: the form that is recorded.
        terms: J_s, shape (B,), with mean J: an explicit form of the same loss whose double backward is right.
        batch_size: given to `curvestep.record`; None to have it found.
    """

    params: Sequence[Tensor]
    direction: Sequence[Tensor]
    loss: Callable[[], Tensor]
    terms: Callable[[], Tensor]
    batch_size: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Truth:
    """Derivatives of the terms along the direction: slopes and curvatures of shape (B,), and scales for the errors."""

    slopes: Tensor
    curvatures: Tensor
    slope_scale: float


@contextmanager
def _explicit_kernels() -> Iterator[None]:
    """Attention as separate operations: its fused kernels have no double backward."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def double_backward(problem: Problem) -> Truth:
    """Return the slope ⟨∇J_s, d⟩ and the curvature of each sample, by differentiating twice."""
    params = list(problem.params)
    with _explicit_kernels(), torch.enable_grad():
        terms = problem.terms()
    slopes, curvatures, scale = [], [], 0.0
    for term in terms:
        grads: Sequence[Tensor | None] = (None,) * len(params)
        if term.requires_grad:
            grads = torch.autograd.grad(term, params, create_graph=True, allow_unused=True)
        slope = term.new_zeros(())
        for grad, d in zip(grads, problem.direction, strict=True):
            if grad is not None:
                product = real(grad) * real(d)
                slope = slope + product.sum()
                scale += float(product.detach().abs().sum()) / len(terms)
        curvature = term.new_zeros(())
        if slope.requires_grad:
            seconds = torch.autograd.grad(slope, params, retain_graph=True, allow_unused=True)
            for second, d in zip(seconds, problem.direction, strict=True):
                if second is not None:
                    curvature = curvature + (real(second) * real(d)).sum()
        slopes.append(slope.detach())
        curvatures.append(curvature.detach())
    return Truth(torch.stack(slopes), torch.stack(curvatures), scale)


def central_differences(problem: Problem, values: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Return first and second derivatives of `values` along the direction, extrapolated twice from three steps."""
    start = [p.detach().clone() for p in problem.params]

    def at(t: float) -> Tensor:
        with torch.no_grad():
            for p, p0, d in zip(problem.params, start, problem.direction, strict=True):
                p.copy_(p0 + t * d)
        return values().detach().clone()  # with gradients on: what carries one is part of the problem

    with _explicit_kernels():
        middle = at(0.0)
        first, second = [], []
        for h in (DIFFERENCE_STEP, DIFFERENCE_STEP / 2, DIFFERENCE_STEP / 4):
            ahead, behind = at(h), at(-h)
            first.append((ahead - behind) / (2 * h))
            second.append((ahead - 2 * middle + behind) / (h * h))
        at(0.0)
    return _extrapolated(first), _extrapolated(second)


def _extrapolated(coarse_to_fine: list[Tensor]) -> Tensor:
    """Two levels of Richardson extrapolation for errors in h² and h⁴."""
    a, b, c = coarse_to_fine
    left, right = (4 * b - a) / 3, (4 * c - b) / 3
    return (16 * right - left) / 15
