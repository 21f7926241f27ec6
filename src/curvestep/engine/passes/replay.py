"""Running the recorded forward again at other parameters, with the recorded masks and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError, RecordingError
from curvestep._shards import is_sharded, whole
from curvestep.engine.data.value import Node, Value, with_values
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.rules.operators import functional_twin
from curvestep.engine.rules.site import Site, require_unchanged


def replay(
    plan: Plan, root: Value, leaves: dict[Value, Tensor], *, watched: bool = False, keep: bool = True
) -> dict[Value, Tensor]:
    """Run the operations between the live leaves and the root again.

    Args:
        plan: what lies between the leaves and the root.
        root: the loss.
        leaves: present values of leaves; the others keep theirs.
        watched: whether autograd watches, so that operations whose saved statistics it takes for constants are run
            by their formula.
        keep: whether everything that was computed is wanted; otherwise what no later operation reads is dropped.

    Returns:
        The present value of everything that was computed, or of the root, and of the given leaves.
    """
    present = dict(leaves)
    last_use = plan.last_use
    for index, node in enumerate(plan.steps):
        gather(node, present)
        site = Site(node, {}, {}, present)
        outs = _elsewhere(node, site, watched)
        for value, out in zip(node.outputs, outs, strict=False):
            if value is not None and (keep or value in last_use or value is root):
                present[value] = out
        if not keep:
            for value in node.inputs:
                if last_use.get(value) == index:
                    present.pop(value, None)
    return present


def _elsewhere(node: Node, site: Site, watched: bool) -> Sequence[Any]:
    """One operation at other parameters; what carries no gradient carries none here."""
    if any(v is not None and v.needs_grad for v in node.outputs):
        return rerun(node, site, watched)
    with torch.no_grad():
        outs = rerun(node, site, False)
    if node.number is not None and outs[0] != node.number:
        raise RecordingError(
            "The loss at other parameters was needed, but the forward read a number of a tensor that depends on them "
            f"(.item(), float(…), or a condition of Python), {node.number:.6g} where they were and {outs[0]:.6g} "
            "there, and what it did with it is not recorded. Keep it a tensor (torch.where for a condition), or read "
            "it after backward."
        )
    return outs


def gather(node: Node, present: dict[Value, Tensor], first: dict[Value, Tensor] | None = None) -> None:
    """Gather what an operation reads of parameters that are sharded, and their tangents; all processes come here."""
    for value in node.inputs:
        held = present.get(value, value.data)
        if is_sharded(held) and held is not None:
            if held is value.data:
                require_unchanged(value, held)
            present[value] = whole(held.detach().to(value.dtype))
        elif held is None and value.origin is not None and not value.needs_grad:
            present[value] = _made_again(value, value.origin)
        if first is not None and is_sharded(tangent := first.get(value)) and tangent is not None:
            first[value] = whole(tangent.to(value.dtype))


def _made_again(value: Value, origin: Node) -> Tensor:
    """What was made of frozen parameters that are sharded, a transposed weight say: the tape does not hold it."""
    if torch.Tag.nondeterministic_seeded in getattr(origin.op, "tags", ()):
        raise RecordingError(
            f"Frozen weights that are made alike each time were needed, but {origin.name} draws random numbers for one "
            "that is sharded. Draw them before the recording, or leave the parameter out of fully_shard."
        )
    made: dict[Value, Tensor] = {}
    gather(origin, made)
    return rerun(origin, Site(origin, {}, {}, made), False)[value.index]


def rerun(node: Node, site: Site, watched: bool) -> Sequence[Any]:
    """One operation at the present values, never writing to anything recorded."""
    args = tuple([with_values(a, site.data) for a in node.args])
    options = {k: with_values(v, site.data) for k, v in node.kwargs.items()}
    rule = node.rule
    if rule is not None and rule.rerun is not None:
        out = rule.rerun(site, args, watched)
    elif watched and rule is not None and rule.formula is not None:
        out = rule.formula(*args, **options)
    else:
        out = _call(node, args, options)
    return out if isinstance(out, (tuple, list)) else (out,)


def _call(node: Node, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call the operation, its functional twin if it writes in place."""
    if not node.mutates:
        if node.rule is None and torch.Tag.nondeterministic_seeded in node.op.tags:
            raise MissingRuleError(f"{node.name} draws random numbers and has no rule, so it cannot be replayed.")
        return node.op(*args, **options)
    twin = functional_twin(node.op)
    if twin is not None:
        return twin(*args, **options)
    return node.op(args[0].clone(), *args[1:], **options)
