"""Sums over lists of tensors: their values for every layout in memory, and that views are taken where there are any."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from curvestep import _numerics

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor,
    "channels last": lambda tensor: tensor.to(memory_format=torch.channels_last),
    "transposed": lambda tensor: tensor.transpose(0, 1),
    "every second": lambda tensor: tensor[..., ::2],
    "one number for all": lambda tensor: tensor[:1, :1, :1, :1].expand_as(tensor),
    "no entries": lambda tensor: tensor[:0],
}


@pytest.mark.parametrize("left", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("right", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_products_of_any_two_layouts(left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]) -> None:
    a, b = (layout(torch.randn(4, 4, 6, 6, dtype=torch.float64)) for layout in (left, right))
    if a.shape != b.shape:
        return
    (found,) = _numerics.dots([a], [b])
    # A few hundred float64 products of order one, summed in another order.
    torch.testing.assert_close(found, (a * b).sum(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(_numerics.squares([a])[0], (a * a).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["contiguous", "channels last", "transposed"])
def test_dense_layouts_are_not_copied(name: str) -> None:
    tensor = LAYOUTS[name](torch.randn(4, 4, 6, 6))
    for line in _numerics._lines(tensor, tensor):
        assert line.data_ptr() == tensor.data_ptr() and line.shape == (tensor.numel(),)


def test_sums_are_formed_in_double_precision_on_the_host() -> None:
    # 2²⁴ + 1 is no float32; each of its terms is.
    large, small = torch.tensor(2.0**24), torch.tensor(1.0)
    assert _numerics.sums_to_host([large, small], [], [small, small]) == [2.0**24 + 1.0, 0.0, 2.0]


def test_sixteen_bit_tensors_are_summed_in_single_precision() -> None:
    ones = torch.ones(1000, dtype=torch.bfloat16)  # 1000 is no bfloat16
    assert [term.item() for term in (*_numerics.dots([ones], [ones]), *_numerics.squares([ones]))] == [1000.0, 1000.0]
