"""Listing what lies between the parameters and the loss: operations, paths to missing ones, where the batch is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from curvestep.diagnostics.findings import Coverage, Operation
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import Rule
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.batch import find_source
from curvestep.engine.recording.opaque import on_the_way
from curvestep.engine.rules.site import AxisSite

_LONGEST_PATH = 6  # operations of a path that are shown from each end


def list_operations(recording: Recording, plan: Plan, names: Mapping[Value, str]) -> tuple[Operation, ...]:
    """Return the operations between the moving leaves and the root: missing ones first, then the most frequent."""
    nodes: dict[str, list[Node]] = {}
    for node in plan.steps:
        nodes.setdefault(node.name, []).append(node)
    found = [
        Operation(
            name=name,
            count=len(group),
            coverage=_coverage(group[0].rule),
            couples=any(_couples(node, plan) for node in group),
            kinks=group[0].rule is not None and group[0].rule.kinks,
            path=_path(group[0], names) if group[0].rule is None else None,
        )
        for name, group in nodes.items()
    ]
    order = list(Coverage)
    found += _opaque(recording, names)
    return tuple(sorted(found, key=lambda op: (-order.index(op.coverage), -op.count, op.name)))


def _coverage(rule: Rule | None) -> Coverage:
    if rule is None:
        return Coverage.MISSING
    return Coverage.DECOMPOSED if is_decomposition(rule) else Coverage.EXACT


def is_decomposition(rule: Rule) -> bool:
    """Whether an operation is expressed by others alone."""
    return rule.propagate is None


def _couples(node: Node, plan: Plan) -> bool:
    rule = node.rule
    if rule is None or rule.couples is None or plan.batch is None:
        return False
    return rule.couples(AxisSite(node, plan.axes, plan.batch))


def _opaque(recording: Recording, names: Mapping[Value, str]) -> list[Operation]:
    """The autograd functions on the way to the root."""
    wanted = on_the_way(recording, recording.root)
    found: dict[str, Operation] = {}
    for each in recording.opaque:
        if each.value not in wanted:
            continue
        entry = None if each.leaf is None else recording.leaves.get(id(each.leaf))
        start = "a parameter" if entry is None else names.get(entry[1], "a tensor")
        count = found[each.name].count + 1 if each.name in found else 1
        path = found[each.name].path if each.name in found else f"{start} → … → {each.name}"
        found[each.name] = Operation(
            each.name, count, Coverage.MISSING, couples=False, kinks=False, path=path, advice=each.why
        )
    return list(found.values())


def _path(node: Node, names: Mapping[Value, str]) -> str:
    """A shortest path from a parameter to an operation, its middle left out where it is long."""
    layer: list[tuple[Value, tuple[str, ...]]] = [(v, (node.name,)) for v in node.inputs if v.needs_grad]
    seen: set[Value] = set()
    while layer:
        following: list[tuple[Value, tuple[str, ...]]] = []
        for value, trail in layer:
            if value in names:
                return " → ".join(_shortened((names[value], *trail)))
            if value in seen or value.origin is None:
                continue
            seen.add(value)
            following += [(v, (value.origin.name, *trail)) for v in value.origin.inputs if v.needs_grad]
        layer = following
    return f"… → {node.name}"


def _shortened(trail: tuple[str, ...]) -> tuple[str, ...]:
    if len(trail) <= 2 * _LONGEST_PATH:
        return trail
    return (*trail[:_LONGEST_PATH], "…", *trail[-_LONGEST_PATH:])


def where_batch_was_found(recording: Recording, plan: Plan, names: Mapping[Value, str], batch: Any) -> str | None:
    """Say where the number of samples was read off, None where no data meets a parameter."""
    reached = set(names).union(v for node in plan.steps for v in node.outputs if v is not None)
    source = find_source(recording.nodes, reached)
    if source is None:
        return None
    value, node = source
    known = {id(tensor): name for name, tensor in _tensors(batch, "example_batch")}
    origin = next((known.get(id(tensor)) for tensor, v in recording.leaves.values() if v is value), None)
    if origin is None:
        origin = "a tensor" if value.origin is None else f"the result of {value.origin.name}"
    meets = next((names[v] for v in node.inputs if v in names), None)
    if meets is None:  # a weight usually arrives transposed
        behind = (v.origin.inputs for v in node.inputs if v.needs_grad and v.origin is not None)
        meets = next((names[v] for inputs in behind for v in inputs if v in names), "a parameter")
    return f"axis 0 of {origin}, shape {value.shape}, where it meets {meets} in {node.name.removesuffix('.default')}"


def _tensors(item: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested lists, dictionaries and dataclasses, with the expression that reads them."""
    if isinstance(item, Tensor):
        yield name, item
    elif isinstance(item, Mapping):
        for key, part in item.items():
            yield from _tensors(part, f"{name}[{key!r}]")
    elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
        for index, part in enumerate(item):
            yield from _tensors(part, f"{name}[{index}]")
    elif is_dataclass(item):
        for field in fields(item):
            yield from _tensors(getattr(item, field.name), f"{name}.{field.name}")
