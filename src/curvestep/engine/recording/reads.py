"""Which arguments and outputs of an operation its rule will read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from curvestep.engine.data.recording import Products, Recording
from curvestep.engine.data.rule import Rule
from curvestep.engine.data.value import Node, Value


def reads(rule: Rule | None, args: Sequence[Any], carries: Callable[[Value], bool]) -> set[Value]:
    """The tensors among the arguments that a rule will read, given which arguments carry gradients."""
    found: set[Value] = set()
    if rule is None:
        return found
    factors = [args[i] for i in rule.factors if i < len(args) and isinstance(args[i], Value)]
    for at, value in enumerate(factors):
        if any(carries(other) for other in factors[:at] + factors[at + 1 :]):
            found.add(value)
    for i in rule.keep_inputs:
        if i < len(args):
            found.update(v for v in (args[i] if isinstance(args[i], list) else (args[i],)) if isinstance(v, Value))
    return found


def reads_output(recording: Recording, node: Node, rule: Rule, index: int, value: Value) -> bool:
    """Whether a rule will read an output, or may be quicker if it can."""
    if index in rule.keep_outputs:
        return True
    products = recording.products
    if index != 0 or rule.may_read is None or products is Products.NAIVE or recording.log.share is not None:
        return False
    return products is Products.POLARISED or rule.may_read(node.args, value)
