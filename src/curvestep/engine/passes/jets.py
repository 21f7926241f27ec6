"""The jets that leave an operation: by its rule, or by recording the formula that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.value import Node, Value, with_values
from curvestep.engine.passes.precision import Dtypes
from curvestep.engine.passes.replay import rerun
from curvestep.engine.recording.recorder import Recorder
from curvestep.engine.rules.site import Jet, Site, Spread


def outgoing(
    node: Node, site: Site, first: dict[Value, Tensor], second: dict[Value, Tensor], carries: Dtypes | None = None
) -> Iterator[tuple[Value, Tensor | None, Tensor | Spread | None]]:
    """The jets that leave one operation, each in the shape of its output."""
    if not any([v in first or v in second for v in node.inputs]):
        return
    if all([v is None or 0 in v.shape for v in node.outputs]):
        return  # what has no elements has no tangent
    if node.rule is None:
        raise MissingRuleError(_missing(node))
    if node.rule.kind is Kind.CONSTANT:
        return
    for value, (dy, ddy) in zip(node.outputs, jets_of(node.rule, site), strict=False):
        if value is None or not value.needs_grad:
            continue
        if dy is not None and dy.shape != value.shape:
            dy = dy.expand(value.shape)
        if dy is not None and dy.dtype != carried_in(value, carries):
            dy = dy.to(carried_in(value, carries))  # under autocast: statistics in float32, outputs in 16 bits
        if isinstance(ddy, torch.Tensor) and ddy.shape != value.shape:
            ddy = ddy.expand(value.shape)
        yield value, dy, ddy


def carried_in(value: Value, carries: Dtypes | None) -> torch.dtype:
    """The dtype of the tangents of a value behind the operation that made it."""
    return value.dtype if carries is None else carries.get(value.dtype, value.dtype)


def jets_of(rule: Rule, site: Site) -> Sequence[Jet]:
    """The jets of all outputs of an operation, by its rule or by the formula that stands for it."""
    found = None if rule.propagate is None else rule.propagate(site)
    if found is None:
        assert rule.formula is not None
        return _by_formula(site, rule.formula)
    return (found,) if isinstance(found, tuple) else found


def _missing(node: Node) -> str:
    """Name the operation without a rule and a path to it."""
    path: list[str] = []
    value = next(v for v in node.inputs if v.needs_grad)
    while value.origin is not None:
        path.append(value.origin.name)
        held = [v for v in value.origin.inputs if v.needs_grad]
        if not held:
            break
        value = held[0]
    trail = " → ".join([f"parameter of shape {value.shape}", *reversed(path[-12:]), node.name])
    return (
        f"A derivative rule for {node.name} was needed, but there is none. It lies on the path {trail}. "
        "Register a rule for it, or express it by operations that have one; `curvestep.engine.rules` lists them."
    )


# -- formulas --------------------------------------------------------------------------------------------------------


def _by_formula(site: Site, function: Callable[..., Any]) -> list[Jet]:
    """The jets of `function` at a recorded operation, carried over a recording of its own."""
    first: dict[Value, Tensor] = {}
    second: dict[Value, Tensor] = {}
    present: dict[Value, Tensor] = {}
    moving: list[tuple[Value, Tensor, Tensor]] = []

    def enter(value: Value) -> Tensor:
        tensor = site.data(value)
        if site.first(value) is None and site.second(value) is None:
            return tensor.detach()
        leaf = tensor.detach().requires_grad_()
        moving.append((value, leaf, tensor))
        return leaf

    args = [with_values(a, enter) for a in site.node.args]
    options = {k: with_values(v, enter) for k, v in site.node.kwargs.items()}
    recording = Recording()
    recorder = Recorder(recording)
    with torch.enable_grad(), recorder:
        out = function(*args, **options)
    outs = out if isinstance(out, (tuple, list)) else (out,)
    ends = [recorder._value(t) if isinstance(t, Tensor) else None for t in outs]
    recorder.finish()
    for value, leaf, tensor in moving:
        if id(leaf) not in recording.leaves:  # an argument that the function does not read
            continue
        own = recording.leaves[id(leaf)][1]
        dx, ddx = site.first(value), site.second(value)
        if dx is not None:
            first[own] = dx
        if ddx is not None:
            second[own] = ddx
        if site.watched:
            present[own] = tensor
    _carry(recording.nodes, first, second, present if site.watched else None)
    jets: list[Jet] = [(None, None) if end is None else (first.get(end), second.get(end)) for end in ends]
    recording.release()
    return jets


def _carry(
    nodes: Sequence[Node], first: dict[Value, Tensor], second: dict[Value, Tensor], present: dict[Value, Tensor] | None
) -> None:
    """Carry both tangents over every operation of a little recording, none of them paired with a cotangent."""
    for node in nodes:
        site = Site(node, first, second, present, watched=present is not None)
        if present is not None:  # all of it: constants of the function are not kept where nothing moves
            present.update((v, t) for v, t in zip(node.outputs, rerun(node, site, True), strict=False) if v is not None)
        if not any(v is not None and v.needs_grad for v in node.outputs):  # a comparison, or no tangent at all
            continue
        for value, dy, ddy in outgoing(node, site, first, second):
            if dy is not None:
                first[value] = dy
            if ddy is not None:
                second[value] = ddy.terms.sum() if isinstance(ddy, Spread) else ddy
