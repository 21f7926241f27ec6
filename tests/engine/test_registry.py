"""Rules of users: an operation of torch.library, taught by a formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import curvestep
from curvestep.engine import register_rule
from curvestep.engine.recording.facts import forget_facts
from curvestep.engine.rules.table import RULES
from curvestep.testing import check_rule


@torch.library.custom_op("curvesteptests::swish", mutates_args=())
def swish(x: Tensor, rate: Tensor) -> Tensor:
    return x * torch.sigmoid(rate * x)


def save(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
    x, rate = ctx.saved_tensors
    p = torch.sigmoid(rate * x)
    return g * (p + rate * x * p * (1 - p)), (g * x * x * p * (1 - p)).sum(0)


swish.register_autograd(backward, setup_context=save)
OP = torch.ops.curvesteptests.swish


def formula(x: Tensor, rate: Tensor) -> Tensor:
    return x / (1 + torch.exp(-rate * x))


@pytest.fixture
def registered() -> Any:
    def enter(samples: Any) -> None:
        register_rule(OP, formula, samples=samples)

    yield enter
    RULES.pop(OP.default, None)
    forget_facts()


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, generator=generator), torch.rand(4, generator=generator) + 0.5]


def test_it_is_refused_before() -> None:
    with pytest.raises(curvestep.MissingRuleError, match=r"curvesteptests\.swish"):
        check_rule(OP, inputs())


@pytest.mark.parametrize("samples", ["elementwise", "first"])
def test_the_formula_serves_total_and_split(registered: Any, samples: str) -> None:
    registered(samples)
    report = check_rule(OP, inputs(), explicit=formula, exact=True if samples == "elementwise" else None)
    assert report.ops == ("curvesteptests.swish.default",)


def test_without_samples_the_total_is_exact_and_the_split_is_not_called_so(registered: Any) -> None:
    registered("none")
    report = check_rule(OP, inputs(), explicit=formula, exact=None)
    assert not any(report.exact.values())


def test_two_rules_for_one_operation_are_refused(registered: Any) -> None:
    registered("none")
    with pytest.raises(ValueError, match="one operation has one rule"):
        registered("none")


def test_what_is_no_operation_is_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.library\.custom_op"):
        register_rule(torch.sin, torch.sin)


def test_a_wrong_word_for_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="samples='rows'"):
        register_rule(OP, formula, samples="rows")  # type: ignore[arg-type]
