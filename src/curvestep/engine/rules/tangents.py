"""Arithmetic on tangents, with None for zero."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def add(*terms: Tensor | None) -> Tensor | None:
    """The sum of the terms that are not zero."""
    total: Tensor | None = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def accumulate(*terms: Tensor | None) -> Tensor | None:
    """The sum of the terms that are not zero, written into the first: its memory must be the caller's own.

    Fresh memory is what elementwise work costs most on a CPU, so sums of products reuse that of the first product.

    Returns:
        The first term that is not None, after the others were added to it; None if all are.
    """
    total: Tensor | None = None
    for term in terms:
        if term is not None:
            total = term if total is None else total.add_(term)
    return total


def mul(left: Tensor | float | None, right: Tensor | float | None) -> Any:
    """The product, zero if a factor is."""
    return None if left is None or right is None else left * right


def twice(term: Tensor | None) -> Tensor | None:
    """2·term."""
    return None if term is None else 2.0 * term
