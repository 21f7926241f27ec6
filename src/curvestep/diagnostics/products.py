"""Counting matrix products and convolutions on a tape: what forward, backward and tangent pass have to do."""

from __future__ import annotations

import math
from typing import Any

import torch

from curvestep.diagnostics.findings import Products
from curvestep.diagnostics.operations import is_decomposition
from curvestep.engine.data.recording import Products as Wanted
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import Kind
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.rules.bilinear import worth_it


def count_products(recording: Recording, plan: Plan, moving: set[Value], share: float = 1.0) -> Products:
    """Return how many products each pass takes, and their multiply-adds over all samples.

    A product y = A·B costs one in the forward, one more in the backward for each factor that requires a gradient, and
    in the tangent pass Ȧ·B, A·Ḃ and Ȧ·Ḃ, each where its tangents are not zero; Ä·B and A·B̈ are added where
    second-order terms are carried on instead of being paired with a cotangent.
    """
    numbers, work = [0, 0, 0], [0, 0, 0]

    def count(size: int, *times: int) -> None:
        for i, n in enumerate(times):
            numbers[i] += n
            work[i] += n * size

    first, second = set(moving), set[Any]()
    splits = plan.batch is not None and plan.separable
    on_path = set(plan.steps)
    for node in recording.nodes:
        product = None if node.rule is None else node.rule.product
        if node in on_path:
            outputs = [v for v in node.outputs if v is not None and v.needs_grad]
            carried = _step(node, outputs, first, second, paired_if_clean=splits, clean=plan.clean)
        else:
            carried = set()
        if product is not None:
            a, b = (node.args[i] for i in product.factors)
            moves = (a in first, b in first) if node in on_path else (False, False)
            tangent = sum(moves) + all(moves) + (a in carried) + (b in carried)
            if all(moves) and product.polarises and _is_polarised(recording, node, a, b, share):
                tangent -= 1
            size = math.prod(_shape(node)) * a.shape[-1] if product.size is None else product.size(node)
            count(size, 1, (a.needs_grad + b.needs_grad) if node.live else 0, tangent)
        elif node.rule is not None and node.rule.attends:
            q, k, v = node.args[:3]
            size = math.prod(q.shape[:-1]) * k.shape[-2] * q.shape[-1]
            # forward QKᵀ, PV; backward QKᵀ again and one for each of V, P, Q, K
            gradient = 5 if node.live else 0
            count(size, 2, gradient, _attention_tangent(q, k, v, first, carried) if node in on_path else 0)
    hidden = {n.name for n in plan.steps if n.rule is not None and is_decomposition(n.rule)}
    return Products(*numbers, *work, uncounted=tuple(sorted(hidden)))


def _step(
    node: Node, outputs: list[Value], first: set[Any], second: set[Any], *, paired_if_clean: bool, clean: frozenset[Any]
) -> set[Any]:
    """Carry first tangents and second-order terms over one operation; return the inputs that brought the latter."""
    carried = {v for v in node.inputs if v in second}
    rule = node.rule
    if rule is not None and rule.kind is Kind.CONSTANT:
        return carried
    bends = rule is None or rule.curved([isinstance(a, Value) and a.needs_grad for a in node.args])
    for value in outputs:
        first.add(value)
        paired = value.slot is not None and (not paired_if_clean or value in clean)
        if (bends or carried) and not paired:
            second.add(value)
    return carried


def _is_polarised(recording: Recording, node: Node, a: Value, b: Value, share: float) -> bool:
    """Whether the rule takes two products where both factors move."""
    value = node.outputs[0]
    if recording.products is Wanted.NAIVE or value is None:
        return False
    if (node.kwargs.get("beta", 1), node.kwargs.get("alpha", 1)) != (1, 1):
        return False
    if a.dtype not in (torch.float32, torch.float64) or not a.dtype == b.dtype == value.dtype:
        return False
    data = value.data
    at_hand = recording.replays or (data is not None and (value.version < 0 or data._version == value.version))
    if not at_hand or recording.products is Wanted.POLARISED:
        return at_hand
    rows, *rest = value.shape
    assert recording.root.data is not None
    device = recording.root.data.device.type
    return worth_it(int(share * math.prod(a.shape)), b.shape, (int(share * rows), *rest), device)


def _attention_tangent(q: Value, k: Value, v: Value, first: set[Any], carried: set[Value]) -> int:
    """Products of the attention rule: QKᵀ made again, then one for each pair of tangents that meet."""
    scores = q in first, k in first
    bends = q in carried, k in carried
    made = 1 + sum(scores) + all(scores) + sum(bends)
    made += any(scores) + (any(scores) or any(bends))  # ṖV and P̈V
    return made + (v in first) + (any(scores) and v in first) + (v in carried)


def _shape(node: Node) -> tuple[int, ...]:
    value = node.outputs[0]
    assert value is not None
    return value.shape
