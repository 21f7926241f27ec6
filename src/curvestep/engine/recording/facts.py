"""What the recorder must know of an operation, looked up once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules import lookup

#: What torch.optim puts around ``step`` and ``zero_grad`` for the profiler, and what autograd asks a fake tensor before
#: it has given it a gradient: no operations on data.
MARKS = frozenset(
    getattr(operation, overload)
    for name in ("_record_function_enter", "_record_function_enter_new", "_record_function_exit")
    for operation in [getattr(torch.ops.profiler, name)]
    for overload in operation.overloads()
) | {torch.ops.prim.device.default}


@dataclass(frozen=True, slots=True)
class OpFacts:
    """What the recorder must know of an operation, looked up once."""

    rule: Rule | None
    written: tuple[int, ...]  # positions of the arguments that the operation writes to
    random: bool = False  # whether running it again would draw other numbers
    writes_out: bool = False  # whether it makes a lazy conjugate a real one
    detaches: bool = False  # whether it returns its argument without a gradient
    marks: bool = False  # whether it is no operation on data
    curved: bool | None = None  # whether it has a second derivative; None where that depends on its arguments
    reads: bool = True  # whether its rule may read its inputs


#: The facts of the operations that were looked up.
FACTS: dict[Any, OpFacts] = {}


def facts(op: Any) -> OpFacts:
    """Look an operation up, whose facts are in `FACTS` from then on."""
    written = tuple(
        i
        for i, argument in enumerate(op._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write and not argument.kwarg_only
    )
    rule = lookup(op)
    found = FACTS[op] = OpFacts(
        rule,
        written,
        torch.Tag.nondeterministic_seeded in op.tags,
        writes_out=rule is not None and rule.writes_out,
        detaches=rule is not None and rule.detaches,
        marks=op in MARKS,
        curved=_curved(rule),
        reads=rule is not None and bool(rule.factors or rule.keep_inputs),
    )
    return found


def _curved(rule: Rule | None) -> bool | None:
    """Whether an operation with this rule has a second derivative; None where that depends on its arguments."""
    if rule is None:
        return False
    return None if rule.kind is Kind.MULTILINEAR else rule.kind is Kind.NONLINEAR


def forget_facts() -> None:
    """Look every operation up again: called when a rule is registered after the first recording."""
    FACTS.clear()
