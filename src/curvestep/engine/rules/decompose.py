"""Rules by decomposition: the operation written again with operations that have rules.

`decomposed(op, function, axis)` needs no formula of its own. Its jets come from recording `function` on the kept
inputs and carrying (ẋ, ẍ) over that little tape by the rules of the parts, so they are exact wherever those are. The
function has to have the derivatives that autograd gives the operation, not only its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from curvestep.engine.rules.table import AxisRule, AxisSite, Jet, Kind, Rule, Site, Spread, register

if TYPE_CHECKING:
    from curvestep.engine.tape import Value


def decomposed(
    op: Any, function: Callable[..., Any], axis: AxisRule, *, couples: Callable[[AxisSite], bool] | None = None
) -> None:
    """Enter an operation that `function`, called with the same arguments, expresses by operations that have rules."""
    register(op, decomposition(function, axis, tensor_positions(op), couples=couples))


def decomposition(
    function: Callable[..., Any],
    axis: AxisRule,
    keep_inputs: tuple[int, ...],
    *,
    couples: Callable[[AxisSite], bool] | None = None,
) -> Rule:
    """The rule of an operation that `function` expresses by operations that have rules.

    Args:
        function: takes the operation's arguments, returns its differentiable outputs in order, first ones first.
        axis: where the samples go.
        keep_inputs: positions of all tensor arguments that may move.
        couples: whether samples mix.

    Returns:
        The rule.
    """

    def jets(site: Site) -> Sequence[Jet]:
        return carried(site, function)

    def again(site: Site, args: tuple[Any, ...], watched: bool) -> Any:
        options = {k: fetched(site, v) for k, v in site.node.kwargs.items()}
        return function(*args, **options) if watched else site.node.op(*args, **options)

    return Rule(Kind.NONLINEAR, jets, axis, keep_inputs=keep_inputs, couples=couples, rerun=again)


def tensor_positions(op: Any) -> tuple[int, ...]:
    """Positions of the arguments of an operation that are tensors or lists of tensors."""
    return tuple(i for i, a in enumerate(op._schema.arguments) if "Tensor" in str(a.type) and not a.kwarg_only)


def fetched(site: Site, arg: Any) -> Any:
    """A recorded argument with its values replaced by tensors."""
    if hasattr(arg, "needs_grad"):
        return site.data(arg)
    if isinstance(arg, list):
        return [fetched(site, a) for a in arg]
    return arg


def carried(site: Site, function: Callable[..., Any]) -> list[Jet]:
    """The jets of `function` at a recorded operation, carried over a tape of its own."""
    from curvestep.engine.record import Recorder
    from curvestep.engine.tape import Tape

    first: dict[Value, Tensor] = {}
    second: dict[Value, Tensor] = {}
    present: dict[Value, Tensor] = {}
    moving: list[tuple[Value, Tensor, Tensor]] = []

    def enter(arg: Any) -> Any:
        if isinstance(arg, list):
            return [enter(a) for a in arg]
        if not hasattr(arg, "needs_grad"):
            return arg
        tensor = site.data(arg)
        if site.first(arg) is None and site.second(arg) is None:
            return tensor.detach()
        leaf = tensor.detach().requires_grad_()
        moving.append((arg, leaf, tensor))
        return leaf

    args = [enter(a) for a in site.node.args]
    options = {k: enter(v) for k, v in site.node.kwargs.items()}
    tape = Tape()
    recorder = Recorder(tape)
    with torch.enable_grad(), recorder:
        out = function(*args, **options)
    outs = out if isinstance(out, (tuple, list)) else (out,)
    ends = [recorder._value(t) if isinstance(t, Tensor) else None for t in outs]
    recorder.finish()
    for value, leaf, tensor in moving:
        if id(leaf) not in tape.leaves:  # an argument that the function does not read
            continue
        own = tape.leaves[id(leaf)][1]
        dx, ddx = site.first(value), site.second(value)
        if dx is not None:
            first[own] = dx
        if ddx is not None:
            second[own] = ddx
        if site.watched:
            present[own] = tensor
    _carry(tape, first, second, present if site.watched else None)
    return [(None, None) if end is None else (first.get(end), second.get(end)) for end in ends]


def _carry(
    tape: Any, first: dict[Value, Tensor], second: dict[Value, Tensor], present: dict[Value, Tensor] | None
) -> None:
    """Carry both tangents over every operation of a little tape, none of them paired with a cotangent."""
    from curvestep.engine.replay import rerun
    from curvestep.engine.sweep import outgoing

    for node in tape.nodes:
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
