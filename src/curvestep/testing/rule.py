"""The check of one rule: a function between an upstream part that bends its inputs and a downstream loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from curvestep.engine import record
from curvestep.testing.problem import check_problem
from curvestep.testing.report import RuleCheckError, RuleReport, joined
from curvestep.testing.truths import Problem

# The tangent of each element is about this large, so that central differences stay within the radius of convergence of
# logarithms and powers of numbers of order one.
DIRECTION_SCALE = 0.25


@final
@dataclass(frozen=True, slots=True)
class Constant:
    """An input of a checked function that does not move.

    Attributes:
        tensor: The input.
    """

    tensor: Tensor


@final
@dataclass(frozen=True, slots=True)
class _Bench:
    """The fixed random numbers around one checked function, all representable in float32."""

    inputs: tuple[Any, ...]
    sampled: frozenset[int]
    batch: int
    seed: int

    def problem(
        self,
        dtype: torch.dtype,
        taylor: bool,
        function: Callable[..., Any],
        explicit: Callable[..., Any],
        reduced: bool,
    ) -> Problem:
        """The function between an upstream part, bent if `taylor`, and a downstream loss."""
        noise = torch.Generator().manual_seed(self.seed)

        def draw(shape: Sequence[int]) -> Tensor:
            return torch.randn(tuple(shape), generator=noise, dtype=torch.float32).to(dtype)

        leaves: list[Tensor] = []
        makers: list[Callable[[], Any]] = []
        for i, given in enumerate(self.inputs):
            tensor = given.tensor if isinstance(given, Constant) else given
            if not isinstance(tensor, Tensor):
                makers.append(lambda held=tensor: held)
                continue
            held = _rounded(tensor, dtype)
            if isinstance(given, Constant) or not tensor.is_floating_point():
                makers.append(lambda held=held: held)
            elif i in self.sampled:
                leaf = torch.zeros(held.shape[1:], dtype=dtype, requires_grad=True)
                leaves.append(leaf)
                makers.append(_sampled(held, leaf, draw(held.shape), draw(held.shape), taylor, taylor and reduced))
            else:
                leaf = _rounded(_unbent(tensor.double()) if taylor else tensor, dtype).clone().requires_grad_()
                leaves.append(leaf)
                makers.append(lambda leaf=leaf: leaf + 0.25 * torch.tanh(leaf) if taylor else leaf * 1.0)
        direction = [DIRECTION_SCALE * draw(leaf.shape) for leaf in leaves]

        def outputs(run: Callable[..., Any]) -> list[Tensor]:
            return outputs_of(run, [make() for make in makers])

        if reduced:
            scale = float(draw(()))

            def whole() -> Tensor:
                return scale * outputs(function)[0]

            def parts() -> Tensor:
                return scale * explicit(*[make() for make in makers])

            return Problem(leaves, direction, whole, parts, self.batch)
        with torch.no_grad():
            values = [make() for make in makers]
        probe = outputs_of(function, [_moved(_leaf(t, given)) for t, given in zip(values, self.inputs, strict=True)])
        spread = [t.shape if self.sampled else (self.batch, *t.shape) for t in probe]
        weights = [(draw(shape), draw(shape), draw(shape)) for shape in spread]

        def terms(run: Callable[..., Any]) -> Tensor:
            outs = outputs(run)
            total: Tensor | None = None
            for out, (w, v, data) in zip(outs, weights, strict=True):
                if not self.sampled:  # an operation on weights: its result meets the data here
                    out = out * data
                elif taylor:  # samples mix downstream, so second-order terms must be carried through the operation
                    out = out - 0.5 * out.mean(0, keepdim=True)
                each = (w * out + v * out * out).reshape(self.batch, -1).sum(1)
                total = each if total is None else total + each
            assert total is not None
            return total

        return Problem(leaves, direction, lambda: terms(function).mean(), lambda: terms(explicit), self.batch)


def outputs_of(run: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    """The outputs that carry gradients."""
    out = run(*inputs)
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    return [t for t in outs if isinstance(t, Tensor) and t.is_floating_point() and t.requires_grad]


def _leaf(value: Any, given: Any) -> Any:
    """A fresh leaf of an input that moves; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    fresh = value.detach().clone()
    return fresh.requires_grad_(fresh.is_floating_point() and not isinstance(given, Constant))


def recorded_ops(function: Callable[..., Any], inputs: Sequence[Any]) -> tuple[str, ...]:
    """Names of the operations that a function records on a live path, each once, in order."""
    leaves = [_leaf(given.tensor if isinstance(given, Constant) else given, given) for given in inputs]
    with record(batch_size=1) as tape:
        function(*[_moved(leaf) for leaf in leaves])
    names = tuple(dict.fromkeys(node.name for node in tape.nodes[_moving(leaves) :] if node.live))
    tape.release()
    return names


def _moved(leaf: Any) -> Any:
    """A leaf times one: an in-place operation cannot write to a leaf itself."""
    return leaf * 1.0 if isinstance(leaf, Tensor) and leaf.requires_grad else leaf


def _moving(leaves: Sequence[Any]) -> int:
    return sum(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in a dtype, rounded to float32 first, so that the float32 problem is the float64 one."""
    return tensor.detach().float().to(dtype) if tensor.is_floating_point() else tensor.detach()


def _sampled(held: Tensor, leaf: Tensor, mix: Tensor, shift: Tensor, bent: bool, coupled: bool) -> Callable[[], Tensor]:
    """An input with a sample axis: its value is `held`, and each sample moves its own way with one shared leaf."""
    rest = torch.tanh(shift)
    centre = held.mean(0, keepdim=True)

    def make() -> Tensor:
        moved = leaf * mix
        x = held + (torch.tanh(moved + shift) - rest) if bent else held + moved
        return x - 0.5 * (x.mean(0, keepdim=True) - centre) if coupled else x

    return make


def _unbent(value: Tensor) -> Tensor:
    """The leaf x with x + tanh(x)/4 = value, by Newton's method."""
    x = value.clone()
    for _ in range(30):  # the map's slope lies between 1 and 1.25, so a few steps would do
        t = torch.tanh(x)
        x = x - (x + 0.25 * t - value) / (1.25 - 0.25 * t * t)
    return x


def check_rule(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    explicit: Callable[..., Any] | None = None,
    sampled: Sequence[int] = (0,),
    terms: Callable[..., Tensor] | None = None,
    batch_size: int | None = None,
    smooth: bool = True,
    single: bool = True,
    exact: bool | None = True,
    seed: int = 0,
) -> RuleReport:
    """Check the derivative rules of every operation in a function against two independent truths.

    Definition:
        With out = function(inputs), J_s = Σ over sample s of (w·out + v·out²) and J = (1/B) Σ_s J_s for fixed random
        w and v, so that cotangents are uneven and both parts of a jet count. The variant "tangent" moves the inputs
        along straight lines; "taylor" moves them along curves and mixes the samples after the operation, so that ẍ
        arrives at it and ÿ is carried through it.

    | symbol | name | meaning |
    |---|---|---|
    | B | `batch_size` | number of samples |
    | J_s | | loss of sample s |
    | ẍ, ÿ | | second-order part of an input's, an output's path |

    Args:
        function: takes the inputs, returns a tensor or several; those that carry gradients are used.
        inputs: tensors and anything else. Floating tensors move unless wrapped in `Constant`.
        explicit: the same function as a formula whose double backward by torch is right; default the function itself
            (with attention as separate operations).
        sampled: positions of the inputs whose axis 0 is the samples; then axis 0 of every output must be, too. Empty
            for an operation on weights alone: its result is multiplied by data.
        terms: for a function that reduces the samples to a scalar (a mean of losses): the B summands, times B, as an
            explicit formula, shape (B,).
        batch_size: the number of samples; read off the first sampled input where there is one, 3 otherwise.
        smooth: whether central differences are a truth: no kink within reach of a step of 1/32.
        single: also check in float32, to 1e-4.
        exact: whether the engine must call its split over samples exact; None where either is right. A split that it
            calls exact is always checked.
        seed: of the random numbers.

    Returns:
        The report of both variants; its `ops` are those of the function alone.

    Raises:
        RuleCheckError: a number is out of tolerance; its message lists index, both values and their ratio.
        MissingRuleError: an operation has no rule.

    Cost:
        A few dozen forwards and 2·B double backwards of the function.

    Example:
        >>> import torch
        >>> from curvestep.testing import check_rule
        >>> report = check_rule(torch.tanh, [torch.linspace(-1, 1, 6).reshape(3, 2)])
        >>> report.worst("total") < 1e-9
        True

    Source: none; the accuracy is that of float64, see the constants of this module for the reasons.

    Deviations: none.
    """
    batch = batch_size
    if batch is None:
        first = inputs[sampled[0]] if sampled else None
        first = first.tensor if isinstance(first, Constant) else first
        batch = 3 if first is None else int(first.shape[0])
    bench = _Bench(tuple(inputs), frozenset(sampled), batch, seed)
    truth = terms or explicit or function
    reports = [
        check_problem(
            lambda dtype, taylor=taylor: bench.problem(dtype, taylor, function, truth, terms is not None),
            variant="taylor" if taylor else "tangent",
            smooth=smooth,
            single=single,
            exact=exact,
        )
        for taylor in (False, True)
    ]
    report = replace(joined(reports), ops=recorded_ops(function, inputs))
    if report.failures:
        raise RuleCheckError(report)
    return report
