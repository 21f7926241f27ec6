"""The one table in which every operation has its row, and `op`, by which a row is entered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curvestep.engine.data.rule import Cut, Dtype, Product, Reduction, Rule
from curvestep.engine.rules.operators import Absent, functional_twin, tensor_positions

RULES: dict[Any, Rule] = {}
_ABSENT: list[str] = []


def op(
    operation: Any,
    rule: Rule,
    *,
    dtype: Dtype = "wide",
    kinks: bool = False,
    reduces: Reduction | None = None,
    product: Product | None = None,
    attends: bool = False,
    cut: Cut | None = None,
    draws: bool = False,
    reads_values: Callable[[Any], Any] | None = None,
    guards: bool = False,
    writes_out: bool = False,
    detaches: bool = False,
) -> None:
    """Enter the row of an operation with its facts, see `Rule`; one that this torch lacks is noted, see `absent`.

    Raises:
        ValueError: the operation has a row already.
    """
    if isinstance(operation, Absent) or rule.propagate is rule.formula is None:
        _ABSENT.append(str(operation))
        return
    if operation in RULES:
        raise ValueError(f"A rule for {operation} is registered already; one operation has one rule.")
    tensors = tensor_positions(operation)
    reads = tensors if rule.formula is not None else tuple(i for i in rule.keep_inputs if i in tensors)
    RULES[operation] = replace(
        rule, keep_inputs=reads, dtype=dtype, kinks=kinks, reduces=reduces, product=product, attends=attends,
        cut=Cut() if cut is None else cut, draws=draws, reads_values=reads_values, guards=guards,
        writes_out=writes_out, detaches=detaches,
    )  # fmt: skip


def absent() -> tuple[str, ...]:
    """The operations that have a row in the tables but not in the torch that is installed."""
    return tuple(sorted(_ABSENT))


def lookup(operation: Any) -> Rule | None:
    """The rule of an operation; an in-place one (`mul_`) uses the rule of its functional twin (`mul`)."""
    rule = RULES.get(operation)
    if rule is not None:
        return rule
    twin = functional_twin(operation)
    return None if twin is None else RULES.get(twin)
