"""What a recording cannot see into: functions computed outside of torch, hidden writes, unseen derivatives.

Where the operations beneath a gradient were seen, the tape goes through them (`curvestep.engine.recording.beneath`).
What is left has a gradient that no operation explains, and is refused by name where it lies on the path to the loss.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from curvestep._errors import MissingRuleError, RecordingError
from curvestep.engine.data.recording import Opaque, Recording
from curvestep.engine.data.value import Value
from curvestep.engine.recording.leaves import computed_in_shards

# They hand their inputs on unchanged, to be told when backward arrives: data-parallel training and a module's full
# backward hooks put them there.
_TRANSPARENT = frozenset({"_DDPSink", "RegisterPostBackwardFunction", "BackwardHookFunction"})

# The ways into a DTensor, between its layouts, and out of it.
_OF_SHARDS = frozenset({"_FromTorchTensor", "Redistribute", "_ToTorchTensor"})


def opaque(tensor: Tensor, value: Value) -> Opaque | None:
    """Describe an output that requires a gradient though it was made without gradients; None where all is well."""
    node = value.origin
    if node is not None and node.live and not node.name.startswith(("aten.", "prims.")):
        return None  # a custom operation: it is found by its name in the table of rules, or refused by it
    made_by: Any = tensor.grad_fn
    if isinstance(made_by, BackwardCFunction):
        name = type(made_by).__name__.removesuffix("Backward")
        if name in _TRANSPARENT:
            return None
        if name in _OF_SHARDS:
            return computed_in_shards(value)
        why = (
            f"{name} is a torch.autograd.Function with a gradient, but by the torch operations of its forward the "
            "result depends on no parameter: it was rounded or compared, or computed elsewhere. Say once with "
            "curvestep.register_rule what it stands for, as lambda x: x + (f(x) - x).detach() for a straight-through "
            "estimator of f, or write it with ordinary torch operations."
        )
        return Opaque(value, name, _first_leaf(made_by), why)
    if node is not None and node.mutates:
        guards = None if node.rule is None else node.rule.guards
        if guards is not None and guards(node, tensor):
            return None
        why = (
            f"{node.name} overwrote inside torch.no_grad() a tensor that carries a gradient, so that autograd's "
            "gradient is not that of the recorded forward. Do without the in-place write, or without no_grad."
        )
        return Opaque(value, f"{node.name} under no_grad", _first_leaf(made_by), why)
    name = made_by.name()
    why = (
        f"autograd gives this output of {'no operation' if node is None else node.name} a gradient that the recorded "
        "operations do not have. Write it with ordinary torch operations, without torch.jit, and a derivative within "
        "the loss with torch.func.jacrev or torch.autograd.grad(…, create_graph=True)."
    )
    return Opaque(value, name, _first_leaf(made_by), why)


def is_transparent(tensor: Tensor) -> bool:
    """Whether it was handed on unchanged by a function that waits for backward to arrive."""
    made_by = tensor.grad_fn
    return isinstance(made_by, BackwardCFunction) and type(made_by).__name__.removesuffix("Backward") in _TRANSPARENT


def _first_leaf(function: Any) -> Tensor | None:
    """Some leaf tensor that lies behind a node of autograd's graph."""
    waiting, seen = [function], {function}
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            return leaf
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return None


def on_the_way(recording: Recording, root: Value) -> set[Value]:
    """The root and every value with a gradient that it was computed from, as far as the recording shows."""
    wanted = {root}
    for node in reversed(recording.nodes):
        if any(v in wanted for v in node.outputs if v is not None):
            wanted.update(v for v in node.inputs if v.needs_grad)
    return wanted


def refuse_opaque(recording: Recording, root: Value) -> None:
    """Refuse a loss that depends on what the recording cannot see into."""
    if not recording.opaque:
        return
    wanted = on_the_way(recording, root)
    for found in recording.opaque:
        if found.value not in wanted:
            continue
        if found.sentence:
            raise RecordingError(found.sentence)
        start = "" if found.leaf is None else f"parameter of shape {tuple(found.leaf.shape)} → … → "
        raise MissingRuleError(
            f"A derivative rule for {found.name} was needed, but there is none. It lies on the path {start}"
            f"{found.name}. {found.why}"
        )
