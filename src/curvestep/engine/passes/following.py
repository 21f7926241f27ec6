"""What a forward at other parameters runs beside the plan: conditions, indices and detached values that follow them."""

from __future__ import annotations

from dataclasses import replace

import torch

from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan


def following(recording: Recording, plan: Plan) -> Plan:
    """The plan with every operation that another point of the line may change, whether or not it carries a gradient.

    A comparison, an argmax or a detached value has no derivative, so that a sweep takes it as it was recorded; the loss
    somewhere else does not. Random draws stay as they were. What Python read of a value (`.item()`, an if) is among
    the steps too, for `replay` to compare.

    Args:
        recording: what was written down.
        plan: the operations that carry gradients from the leaves to the root.

    Returns:
        The same plan where nothing else follows the parameters.
    """
    root = recording.root
    carrying = set(map(id, plan.steps))
    depends, able = _reached(recording, carrying)
    wanted = {root}
    steps: list[Node] = []
    before = False
    for node in reversed(recording.nodes):
        before = before or node is root.origin
        asked = any(v in wanted and (v in depends or v.data is None) for v in node.outputs if v is not None)
        read = before and node.number is not None and any(v in depends for v in node.inputs)
        if id(node) in carrying or ((asked or read) and _runs(node, able)):
            steps.append(node)
            wanted.update(node.inputs)
    if len(steps) == len(plan.steps):
        return plan
    steps.reverse()
    last_use = {value: i for i, node in enumerate(steps) for value in node.inputs}
    return replace(plan, steps=tuple(steps), last_use=last_use)


def _reached(recording: Recording, carrying: set[int]) -> tuple[set[Value], set[Value]]:
    """Values that follow the parameters, and those that are at hand or can be computed from what is."""
    leaves = [value for _, value in recording.leaves.values()]
    depends = {v for v in leaves if v.needs_grad}
    able = {v for v in leaves if v.data is not None}
    for node in recording.nodes:
        outputs = [v for v in node.outputs if v is not None]
        runs = id(node) in carrying or _runs(node, able)
        if runs and any(v in depends for v in node.inputs):
            depends.update(outputs)
        able.update(v for v in outputs if runs or v.data is not None)
    return depends, able


def _runs(node: Node, able: set[Value]) -> bool:
    """Whether an operation without a gradient can be run again and gives what it gave."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.op, "tags", ())
    return not random and all(v in able for v in node.inputs)
