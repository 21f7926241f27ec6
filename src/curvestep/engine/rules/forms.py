"""Forms of rule that many tables share: linear, linear in several arguments, in each of several factors, a formula."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.value import Value, with_values
from curvestep.engine.rules.site import AxisRule, AxisSite, Jet, Site
from curvestep.engine.rules.tangents import add, mul


def recorded(site: Site) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as recorded; a moving tensor that the tape did not keep stays a value."""

    def take(value: Value) -> Tensor | Value:
        return site.data(value) if site.has(value) else value

    args = [with_values(a, take) for a in site.node.args]
    return args, {k: with_values(v, take) for k, v in site.node.kwargs.items()}


def _listed(out: Any, count: int) -> list[Any]:
    """Outputs as a list, filled up to the number that the operation has."""
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    return outs + [None] * (count - len(outs))


def linear_in_first(axis: AxisRule, run: Callable[..., Any] | None = None) -> Rule:
    """y = F(a; …), linear in the first argument: its tangents go through the operation itself, or through `run`."""

    def jet(s: Site) -> list[Jet]:
        rest, options, call = s.node.args[1:], s.node.kwargs, run or s.op

        def through(t: Tensor | None) -> list[Tensor | None]:
            if t is None:
                return [None] * len(s.node.outputs)
            out = call(t, *rest, **options)
            return list(out) if isinstance(out, (tuple, list)) else [out]

        return list(zip(through(s.d(0)), through(s.dd(0)), strict=True))

    return Rule(Kind.LINEAR, jet, axis)


def formula(function: Callable[..., Any], axis: AxisRule, *, couples: Callable[[AxisSite], bool] | None = None) -> Rule:
    """The operation written with operations that have rules: `function`, of the same arguments.

    A pass records it on the kept inputs and carries (ẋ, ẍ) over that little recording by the rules of the parts, so the
    jets are exact wherever those are. It gives the differentiable outputs in order, first ones first, and has the
    derivatives that autograd gives the operation, not only its value.

    Returns:
        The rule.
    """
    return Rule(Kind.NONLINEAR, None, axis, couples=couples, formula=function)


def torchs_formula(operation: Any, axis: AxisRule) -> Rule:
    """The operation as torch itself writes it out; the row is left out where this torch does not."""
    wrapped: Any = decomposition_table.get(operation)
    # without the wrappers, which cast to other dtypes and take as long as a small formula itself
    return formula(None if wrapped is None else unwrap(wrapped), axis)  # type: ignore[arg-type]


def jointly_linear(
    moving: tuple[int, ...], axis: AxisRule, run: Callable[..., Any] | None = None, keep: tuple[int, ...] = ()
) -> Rule:
    """y = F(a, b, …), linear in the `moving` arguments together; `run` drops a constant part where F has one."""

    def jet(site: Site) -> list[Jet]:
        args, options = recorded(site)
        count = len(site.node.outputs)

        def through(tangent: Callable[[Any], Tensor | None]) -> list[Any]:
            put = list(args)
            held = {i: tangent(site.arg(i)) for i in moving if isinstance(site.arg(i), Value)}
            like = next((t for t in held.values() if t is not None), None)
            if like is None:
                return [None] * count
            for i, t in held.items():
                value = site.arg(i)
                put[i] = torch.zeros(value.shape, dtype=site.dtype(value), device=like.device) if t is None else t
            return _listed((run or site.op)(*put, **options), count)

        return list(zip(through(site.first), through(site.second), strict=True))

    return Rule(Kind.LINEAR, jet, axis, keep_inputs=keep)


def multilinear(
    factors: tuple[int, ...],
    axis: AxisRule,
    run: Callable[..., Any] | None = None,
    also: Callable[[Site, Callable[[Any], Tensor | None]], Tensor | None] | None = None,
) -> Rule:
    """y = F(a, b, …), linear in each factor on its own, plus a part `also` that is linear in other arguments.

    ẏ = Σᵢ F(…, ȧᵢ, …) and ÿ = Σᵢ F(…, äᵢ, …) + 2 Σ_{i<j} F(…, ȧᵢ, …, ȧⱼ, …).

    Returns:
        The rule.
    """

    def jet(site: Site) -> Jet:
        args, options = recorded(site)
        present = [i for i in factors if isinstance(site.arg(i), Value)]

        def with_(tangents: dict[int, Tensor | None]) -> Tensor | None:
            if any(t is None for t in tangents.values()):
                return None
            put = list(args)
            for i, t in tangents.items():
                put[i] = t
            return (run or site.op)(*put, **options)

        first = add(*[with_({i: site.d(i)}) for i in present])
        bend = add(*[with_({i: site.d(i), j: site.d(j)}) for i, j in combinations(present, 2)])
        second = add(*[with_({i: site.dd(i)}) for i in present], mul(2.0, bend))
        if also is not None:
            first = add(first, also(site, site.first))
            second = add(second, also(site, site.second))
        return first, second

    return Rule(Kind.MULTILINEAR, jet, axis, factors=factors)
