"""Rules of users: for an operation of their own, by a formula made of operations that have rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, final, get_args

import torch
from torch._ops import OpOverload, OpOverloadPacket

from curvestep.engine.data.samples import Annotation, Marker
from curvestep.engine.recording.facts import forget_facts
from curvestep.engine.recording.recorder import open_recorder
from curvestep.engine.rules import forms
from curvestep.engine.rules.axes import elementwise_axis, leading_axis
from curvestep.engine.rules.site import AxisRule, AxisSite
from curvestep.engine.rules.table import op as enter

Samples = Literal["elementwise", "first", "none"]


def register_rule(op: Any, formula: Callable[..., Any], *, samples: Samples = "none", kinks: bool = False) -> None:
    """Teach the engine an operation or autograd function of your own, by a formula made of ordinary torch operations.

    Definition:
        For y = op(x, …) the engine carries ẏ = ∂F[ẋ] and ÿ = ∂F[ẍ] + ∇²F[ẋ, ẋ] through `formula`, by the rules of the
        operations in it. The formula must have the value of the operation and the gradient that its backward gives.

    | symbol | name | meaning |
    |---|---|---|
    | F | `formula` | the operation as ordinary torch operations |
    | x, y | | inputs and outputs of the operation |

    Args:
        op: an operation of `torch.library`, as `torch.ops.mylib.swish` or `torch.ops.mylib.swish.default`, or a
            subclass of `torch.autograd.Function`, whose `apply` is then recorded as one operation. It needs that where
            its forward runs outside of torch, or its backward is not the derivative of its forward.
        formula: takes the arguments of the operation and returns its outputs in order, out of place and without
            random numbers. It runs again in each pass, on the recorded inputs.
        samples: where the samples are after the operation. "elementwise": inputs are broadcast, each element of the
            output depends on its own elements alone. "first": axis 0 of the output is the samples wherever it is of an
            input, and samples do not mix. "none": unknown; the total stays exact, the split over samples is not.

        kinks: whether its first derivative jumps somewhere; `curvestep.doctor` then says so.

    Raises:
        ValueError: the operation has a rule already, or `samples` is none of the three.
        TypeError: `op` is neither an operation of `torch.library` nor an autograd function.

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
        >>> curvestep.register_rule(torch.ops.docs.cube, lambda x: x * x * x, samples="elementwise")
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
    axis: AxisRule = {"elementwise": elementwise_axis, "first": leading_axis, "none": _unknown}[samples]
    if isinstance(op, type) and issubclass(op, torch.autograd.Function):
        _register_function(op, formula, axis, kinks)
        return
    if isinstance(op, OpOverloadPacket):
        op = op.default
    if not isinstance(op, OpOverload):
        raise TypeError(
            f"An operation of torch.library, as torch.ops.mylib.swish, or a subclass of torch.autograd.Function was "
            f"needed, but {op!r} was given. Wrap the function with torch.library.custom_op and pass what torch.ops "
            "then holds."
        )
    enter(op, forms.formula(formula, axis), kinks=kinks)
    forget_facts()


# -- autograd functions ---------------------------------------------------------------------------------------------


@final
class FunctionOp:
    """A `torch.autograd.Function` as an operation of the tape: called, it runs the `apply` that had no rule."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        self.function = function
        self.apply: Any = function.apply  # a bound class method
        self.tags: tuple[Any, ...] = ()

    def __call__(self, *args: Any) -> Any:
        """Run the function as if it were not registered."""
        return self.apply(*args)

    def __str__(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


_FUNCTIONS: set[type[torch.autograd.Function]] = set()
_MOST_ARGUMENTS = 64


def _register_function(
    function: type[torch.autograd.Function], formula: Callable[..., Any], axis: AxisRule, kinks: bool
) -> None:
    """Have `function.apply` written down as one operation whenever a recording is open."""
    if function in _FUNCTIONS:
        raise ValueError(f"A rule for {function.__qualname__} is registered already; one function has one rule.")
    op = FunctionOp(function)
    rule = replace(forms.formula(formula, axis), keep_inputs=tuple(range(_MOST_ARGUMENTS)), kinks=kinks)

    def apply(cls: type[torch.autograd.Function], *args: Any) -> Any:
        recorder = open_recorder()
        if cls is not function or recorder is None:  # a subclass has a derivative of its own
            return op.apply.__func__(cls, *args)
        return recorder.run_as_one(op, rule, args)

    _FUNCTIONS.add(function)
    function.apply = classmethod(apply)  # type: ignore[method-assign, assignment]


def _unknown(site: AxisSite) -> Annotation:
    """Samples are lost, if there are any."""
    return Marker.SHARED if all(site.of(v) is Marker.SHARED for v in site.node.inputs) else Marker.LOST
