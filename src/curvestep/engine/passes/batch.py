"""How many samples there are: read off the data that the parameters meet."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

import torch

from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.axes import BATCHED
from curvestep.engine.rules.index import is_literal


def find_batch(nodes: Sequence[Node], reached: set[Value]) -> int | None:
    """Read the number of samples off the first axis of the tensor that `find_source` finds, None without one."""
    found = find_source(nodes, reached)
    return None if found is None else found[0].shape[0]


def find_source(nodes: Sequence[Node], reached: set[Value], stated: int | None = None) -> tuple[Value, Node] | None:
    """Find the first data tensor that meets a parameter.

    Data is what came from outside, or was read by index out of it (a batch drawn inside the recording). A tensor that
    lies element by element on a parameter (a mask of its weights, what it is held to, running statistics) counts only
    if nothing meets all of one, and one that is made inside (positions, noise) only if nothing else does, or after data
    alone where a product takes it.

    Args:
        nodes: the recording's.
        reached: values that depend on a moving parameter.
        stated: the number of samples if that is known: one with an axis of this size comes first.

    Returns:
        That tensor and the operation in which they meet, None where no data meets a parameter.
    """
    source: dict[Value, Value] = {}
    others: dict[int, tuple[Value, Node]] = {}  # by how little they say
    for node in nodes:
        moving = node.live and any(v in reached for v in node.inputs)
        data = [v for v in node.inputs if v not in reached]
        for value in data:
            if value.origin is None and value.shape and 0 not in value.shape and not is_weight(value):
                source.setdefault(value, value)
        if moving:
            for value in data:
                found = source.get(value)
                if found is None:
                    continue
                rank = 0 if gains(node, value, reached) else 2
                if not is_data(found):
                    rank = 1 if node.rule is not None and node.rule.product is not None else 3
                rank += 0 if stated is None or stated in found.shape else 4
                if rank == 0:
                    return found, node
                others.setdefault(rank, (found, node))
        elif not node.live:
            known = next((source[v] for v in data if v in source), None)
            for value in node.outputs:
                if value is not None and value.shape:
                    drawn = known is None or is_literal(node.op) or (is_drawn(node) and is_data(known))
                    source[value] = value if drawn or known is None else known
    return others[min(others)] if others else None


def gains(node: Node, value: Value, reached: set[Value]) -> bool:
    """Whether a constant brings an axis to what it meets, along which all rows meet the same parameters."""
    if node.rule is not None and (node.rule.product is not None or node.rule.draws):
        return True
    moving = [v.shape for v in node.inputs if v in reached]
    if all(len(shape) < len(value.shape) for shape in moving):
        return True
    for at, size in enumerate(reversed(value.shape)):
        if size > 1 and not any(at < len(shape) and shape[len(shape) - 1 - at] == size for shape in moving):
            return True
    return False


def brings(node: Node, value: Value, dim: int, reached: Set[Value]) -> bool:
    """Whether all entries along this axis of a constant meet the same moving values, as samples do.

    Stricter than `gains`: a moving value as long as the batch, along that axis, has an entry for each of them.

    Returns:
        False where one of them has.
    """
    moving = [v for v in node.inputs if v in reached]
    product = None if node.rule is None else node.rule.product
    if product is not None and value in [node.args[i] for i in product.factors]:
        if node.rule is not None and node.rule.cut is BATCHED and dim == 0:
            return all([v.shape[0] == 1 or _is_repeated(v) for v in moving if len(v.shape) == len(value.shape)])
        return True
    if node.rule is not None and node.rule.draws and len(value.shape) == 1:
        return True
    behind = len(value.shape) - dim
    return all([len(v.shape) < behind or v.shape[-behind] == 1 for v in moving])


def meet_alike(source: Value, node: Node, count: int, reached: Set[Value]) -> bool:
    """Whether all samples of the source meet the same moving values where it meets them first.

    Args:
        source: what `find_source` found.
        node: the operation in which it meets them.
        count: how many rows the samples have.
        reached: values that depend on a moving parameter.

    Returns:
        False where a moving value has entries of its own for them, or where it cannot be told.
    """
    sizes = source.shape
    first = sizes.index(count) if count in sizes else 0
    made = [v for v in node.inputs if v not in reached and v.origin is not None]
    values = [source] if source in node.inputs else made
    for value in values:  # of what was made of it, every axis may have the samples
        axes = [first] if value.shape == sizes else [d for d, n in enumerate(value.shape) if n and n % count == 0]
        if not axes or not all([brings(node, value, dim, reached) for dim in axes]):
            return False
    return bool(values)


def _is_repeated(value: Value) -> bool:
    """Whether all entries along the first axis are the same one, expanded."""
    while value.origin is not None and len(value.origin.inputs) == 1 and value.shape:
        before = value.origin.inputs[0]
        if math.prod(before.shape) * value.shape[0] == math.prod(value.shape):
            return before.shape[:1] == (1,) or before.shape == value.shape[1:]
        if math.prod(before.shape) != math.prod(value.shape):
            return False
        value = before
    return False


def is_drawn(node: Node) -> bool:
    """Whether a batch may be drawn out of data by an operation."""
    return node.rule is not None and node.rule.draws


def is_data(source: Value) -> bool:
    """Whether a tensor that `find_source` knows came from outside or was drawn out of what did."""
    return source.origin is None or is_drawn(source.origin)


def is_weight(value: Value) -> bool:
    """Whether a leaf is a module's parameter: one that is frozen, or that does not move, is no data."""
    return isinstance(value.data, torch.nn.Parameter)
