"""Rules of users: for an operation of their own, by a formula made of operations that have rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from torch._ops import OpOverload, OpOverloadPacket

from curvestep.engine.record import forget_facts
from curvestep.engine.rules.decompose import decomposition, tensor_positions
from curvestep.engine.rules.table import AxisSite, elementwise_axis, register
from curvestep.engine.samples import Annotation, Marker, SampleAxis

Samples = Literal["elementwise", "first", "none"]


def register_rule(op: Any, formula: Callable[..., Any], *, samples: Samples = "none") -> None:
    """Teach the engine an operation of your own, by a formula made of ordinary torch operations.

    Definition:
        For y = op(x, …) the engine carries ẏ = ∂F[ẋ] and ÿ = ∂F[ẍ] + ∇²F[ẋ, ẋ] through `formula`, by the rules of the
        operations in it. The formula must have the value of the operation and the gradient that its backward gives.

    | symbol | name | meaning |
    |---|---|---|
    | F | `formula` | the operation as ordinary torch operations |
    | x, y | | inputs and outputs of the operation |

    Args:
        op: an operation of `torch.library`, as `torch.ops.mylib.swish` or `torch.ops.mylib.swish.default`.
        formula: takes the arguments of the operation and returns its outputs in order, out of place and without
            random numbers. It runs again in each pass, on the recorded inputs.
        samples: where the samples are after the operation. "elementwise": inputs are broadcast, each element of the
            output depends on its own elements alone. "first": axis 0 of the output is the samples wherever it is of an
            input, and samples do not mix. "none": unknown; the total stays exact, the split over samples is not.

    Raises:
        ValueError: the operation has a rule already, or `samples` is none of the three.
        TypeError: `op` is not an operation of `torch.library`.

    Cost:
        One forward of the formula more in each pass.

    Example:
        >>> import torch, curvestep
        >>> @torch.library.custom_op("docs::cube", mutates_args=())
        ... def cube(x: torch.Tensor) -> torch.Tensor:
        ...     return x**3
        >>> cube.register_autograd(
        ...     lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2,
        ...     setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
        ... )
        >>> curvestep.engine.register_rule(torch.ops.docs.cube, lambda x: x * x * x, samples="elementwise")
        >>> w = torch.tensor([2.0], requires_grad=True)
        >>> with curvestep.record() as tape:
        ...     loss = torch.ops.docs.cube(w).sum()
        ...     loss.backward()
        >>> tape.curvature([w], [torch.ones(1)]).total.item()  # 6 w
        12.0

    Source: none; the chain rule.

    Deviations: none.
    """
    if samples not in get_args(Samples):
        raise ValueError(f"samples must be one of {', '.join(get_args(Samples))}, but samples={samples!r} was given.")
    if isinstance(op, OpOverloadPacket):
        op = op.default
    if not isinstance(op, OpOverload):
        raise TypeError(
            f"An operation of torch.library was needed, as torch.ops.mylib.swish, but {op!r} was given. Wrap the "
            "function with torch.library.custom_op and pass what torch.ops then holds."
        )
    axis = {"elementwise": elementwise_axis, "first": _first, "none": _none}[samples]
    register(op, decomposition(formula, axis, tensor_positions(op)))
    forget_facts()


def _first(site: AxisSite) -> list[Annotation]:
    """Samples along axis 0 of some inputs, and of no other axis."""
    known = [site.of(v) for v in site.node.inputs]
    named = {k for k in known if isinstance(k, SampleAxis)}
    out: Annotation = next((m for m in (Marker.LOST, Marker.POOLED, Marker.SUMMED) if m in known), Marker.SHARED)
    if named:
        only = next(iter(named))
        out = only if len(named) == 1 and only.dim == 0 and out is not Marker.LOST else Marker.LOST
    return [out] * len(site.node.outputs)


def _none(site: AxisSite) -> list[Annotation]:
    """Samples are lost, if there are any."""
    shared = all(site.of(v) is Marker.SHARED for v in site.node.inputs)
    return [Marker.SHARED if shared else Marker.LOST] * len(site.node.outputs)
