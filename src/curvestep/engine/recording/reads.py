"""Which arguments and outputs of an operation its rule will read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curvestep.engine.data.recording import Products, Recording
from curvestep.engine.data.rule import Rule
from curvestep.engine.data.value import Node, Value


def reads(rule: Rule, args: Sequence[Any]) -> set[Value]:
    """The values among the arguments that a rule will read: of factors, those beside one that carries a gradient."""
    found: set[Value] = set()
    if rule.factors:
        factors = [args[i] for i in rule.factors if i < len(args) and isinstance(args[i], Value)]
        live = [value for value in factors if value.needs_grad]
        if live:
            found.update(factors)
            # One that carries the only gradient is not read, unless it is a product of a tensor with itself.
            if len(live) == 1 and len(found) == len(factors):
                found.discard(live[0])
    for i in rule.keep_inputs:
        if i < len(args):
            found.update([v for v in (args[i] if isinstance(args[i], list) else (args[i],)) if isinstance(v, Value)])
    return found


def reads_output(recording: Recording, node: Node, rule: Rule, index: int, value: Value) -> bool:
    """Whether a rule will read an output, or may be quicker if it can."""
    if index in rule.keep_outputs:
        return True
    products = recording.products
    if index != 0 or rule.may_read is None or products is Products.NAIVE or recording.log.share is not None:
        return False
    return products is Products.POLARISED or rule.may_read(node.args, value)
