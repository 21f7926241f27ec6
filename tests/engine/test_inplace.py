"""In-place operations and writes into views: each twin, and every way of reading the storage afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from curvestep.testing import check_rule

TWINS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "add_": (lambda x: x.add_(torch.ones(4, dtype=x.dtype), alpha=0.3), True),
    "sub_": (lambda x: x.sub_(0.4), True),
    "mul_": (lambda x: x.mul_(1.7), True),
    "div_": (lambda x: x.div_(1.7), True),
    "neg_": (lambda x: x.neg_(), True),
    "tanh_": (lambda x: x.tanh_(), True),
    "sigmoid_": (lambda x: x.sigmoid_(), True),
    "exp_": (lambda x: x.exp_(), True),
    "pow_": (lambda x: x.pow_(3), True),
    "sin_": (lambda x: x.sin_(), True),
    "relu_": (lambda x: x.relu_(), False),
    "leaky_relu_": (lambda x: F.leaky_relu_(x, 0.2), False),
    "elu_": (lambda x: F.elu_(x), False),
    "silu_": (lambda x: F.silu(x, inplace=True), True),
    "mish_": (lambda x: F.mish(x, inplace=True), True),
    "hardtanh_": (lambda x: F.hardtanh_(x), False),
    "clamp_": (lambda x: x.clamp_(-0.6, 0.6), False),
    "masked_fill_": (lambda x: x.masked_fill_(torch.eye(3, 4).bool(), 0.5), True),
    "zero_": (lambda x: x.clone().zero_() + x, True),
    "fill_": (lambda x: x.clone().fill_(0.3) * x, True),
    "copy_": (lambda x: torch.empty_like(x).copy_(x.sin()), True),
    "squeeze_": (lambda x: x.unsqueeze(1).squeeze_(1), True),
    "transpose_": (lambda x: (x * 2).transpose_(0, 1).t(), True),
}


@pytest.mark.parametrize("name", TWINS)
def test_in_place_twin(name: str) -> None:
    run, smooth = TWINS[name]
    torch.manual_seed(2)
    x = torch.randn(3, 4, dtype=torch.float64)
    report = check_rule(lambda x: run(x * x * x + x), [x], smooth=smooth)
    assert any(f".{name}" in op for op in report.ops), report.ops


def through_base(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    base[:, 1:3] = y[:, :2].sin()
    return base.tanh()


def through_another_view(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    view, other = base[:, :3], base.view(3, 2, 2)
    view.mul_(y[:, :1])
    return other.tanh()


def through_the_written_view(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    view = base[:, 1]
    view.add_(y[:, 0].exp())
    return base * view.unsqueeze(1)


def twice_into_one_place(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    base[:, 0] = y[:, 0] ** 2
    base[:, 0] *= x[:, 3]
    base[:, 3] = base[:, 0].clone() * 2.0
    return base.sin()


def write_over_everything(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    base.copy_(y**3)
    return base + x


def write_through_a_view_of_a_view(x: Tensor, y: Tensor) -> Tensor:
    base = (x * x).view(3, 2, 2)
    base.transpose(1, 2)[:, 0].mul_(y[:, :2])
    return base.flatten(1).tanh()


def read_before_and_after(x: Tensor, y: Tensor) -> Tensor:
    base = x * 1.5
    before = base + y  # does not keep base, so writing is allowed
    base[:, 2:] += y[:, :2] ** 2
    return before * base.sin()


def constant_filled_bit_by_bit(x: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for i in range(4):
        out[:, i] = x[:, i] ** 2 * y[:, 3 - i]
    return out


def masked_write(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    base.masked_fill_(torch.tensor([True, False, False, True]), 0.25)
    return base * y


def step_of_two(x: Tensor, y: Tensor) -> Tensor:
    base = x * x
    base[:, ::2] = y[:, 1::2].exp()
    return base.tanh()


VIEWS = [
    through_base, through_another_view, through_the_written_view, twice_into_one_place, write_over_everything,
    write_through_a_view_of_a_view, read_before_and_after, constant_filled_bit_by_bit, masked_write, step_of_two,
]  # fmt: skip


@pytest.mark.parametrize("function", VIEWS, ids=lambda f: f.__name__)
def test_writes_into_views(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(4)
    x, y = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    check_rule(function, [x, y], sampled=(0, 1))


@pytest.mark.parametrize("function", VIEWS, ids=lambda f: f.__name__)
def test_writes_into_views_of_weights(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(5)
    x, y = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    check_rule(function, [x, y], sampled=(), batch_size=5)
