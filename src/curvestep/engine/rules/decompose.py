"""Rules by decomposition: the operation written again with operations that have rules.

`decomposed(op, function, axis)` needs no jets of its own. A pass records `function` on the kept inputs and carries
(ẋ, ẍ) over that little recording by the rules of the parts, so they are exact wherever those are. The function has to
have the derivatives that autograd gives the operation, not only its value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from curvestep.engine.data.value import Value
from curvestep.engine.rules.table import AxisRule, AxisSite, Kind, Rule, Site, register


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
    return Rule(Kind.NONLINEAR, None, axis, keep_inputs=keep_inputs, couples=couples, formula=function)


def tensor_positions(op: Any) -> tuple[int, ...]:
    """Positions of the arguments of an operation that are tensors or lists of tensors."""
    return tuple(i for i, a in enumerate(op._schema.arguments) if "Tensor" in str(a.type) and not a.kwarg_only)


def fetched(site: Site, arg: Any) -> Any:
    """A recorded argument with its values replaced by tensors."""
    if isinstance(arg, Value):
        return site.data(arg)
    if isinstance(arg, list):
        return [fetched(site, a) for a in arg]
    return arg
