"""Every row of the database of operations against double backward and central differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from curvestep.testing import Constant, RuleCheckError, check_rule
from tests.engine.ops import ROWS, Row


def check(row: Row, inputs: list[Any], *, single: bool = True) -> Any:
    return check_rule(
        row.function,
        inputs,
        explicit=row.explicit,
        sampled=row.sampled,
        terms=row.terms,
        smooth=row.smooth,
        exact=row.exact,
        single=single,
    )


def moving(inputs: list[Any]) -> list[int]:
    return [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.is_floating_point()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rule(row: Row) -> None:
    report = check(row, row.drawn())
    assert row.op in report.ops, f"The row is about {row.op}, but the function ran {report.ops}."


ALONE = [(row, i) for row in ROWS if len(held := moving(row.drawn())) > 1 for i in held]


@pytest.mark.parametrize(("row", "alone"), ALONE, ids=lambda part: part.name if isinstance(part, Row) else str(part))
def test_rule_with_one_moving_input(row: Row, alone: int) -> None:
    """A rule may take a short cut for a zero tangent: let one input move, and hold the others."""
    inputs = [
        Constant(t) if isinstance(t, Tensor) and t.is_floating_point() and i != alone else t
        for i, t in enumerate(row.drawn())
    ]
    check(row, inputs, single=False)


def test_names_are_distinct() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names), sorted({n for n in names if names.count(n) > 1})


def test_a_wrong_truth_is_reported_with_index_values_and_ratio() -> None:
    x = torch.linspace(-1, 1, 6).reshape(3, 2)
    with pytest.raises(RuleCheckError, match=r"per_sample\[0\] is .* double backward says .* \(ratio .*, error .*\)"):
        check_rule(torch.sin, [x], explicit=lambda x: torch.sin(x) * 1.001, smooth=False)


def test_a_kink_within_reach_of_a_step_is_reported() -> None:
    """Central differences have a say of their own: across a kink they disagree with everything else."""
    x = torch.tensor([[1e-4, 1e-4], [-1e-4, -1.0], [1.0, -1e-4]])
    with pytest.raises(RuleCheckError) as caught:
        check_rule(torch.relu, [x])
    assert {c.truth_from for c in caught.value.report.failures} == {"central differences"}


def test_an_error_in_one_part_in_a_hundred_million_is_reported() -> None:
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    with pytest.raises(RuleCheckError):
        check_rule(torch.sin, [x], explicit=lambda x: torch.sin(x * (1 + 1e-8)), smooth=False, single=False)
