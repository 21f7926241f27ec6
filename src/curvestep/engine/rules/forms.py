"""Forms of rule that many tables share: linear in several arguments together, linear in each of several factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.data.value import Value
from curvestep.engine.rules.decompose import fetched
from curvestep.engine.rules.table import AxisRule, AxisSite, Jet, Kind, Rule, Site, add, mul, register


def recorded(site: Site) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as recorded; a moving tensor that the tape did not keep stays a value."""

    def take(arg: Any) -> Any:
        if isinstance(arg, Value):
            return site.data(arg) if site.has(arg) else arg
        return [take(a) for a in arg] if isinstance(arg, list) else arg

    return [take(a) for a in site.node.args], {k: take(v) for k, v in site.node.kwargs.items()}


def _listed(out: Any, count: int) -> list[Any]:
    """Outputs as a list, filled up to the number that the operation has."""
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    return outs + [None] * (count - len(outs))


def jointly_linear(
    op: Any, moving: tuple[int, ...], axis: AxisRule, run: Callable[..., Any] | None = None, keep: tuple[int, ...] = ()
) -> None:
    """Enter y = F(a, b, …), linear in the `moving` arguments together; `run` drops a constant part where F has one."""
    call = run or op

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
            return _listed(call(*put, **options), count)

        return list(zip(through(site.first), through(site.second), strict=True))

    register(op, Rule(Kind.LINEAR, jet, axis, keep_inputs=keep))


def multilinear(
    op: Any,
    factors: tuple[int, ...],
    axis: AxisRule,
    run: Callable[..., Any] | None = None,
    also: Callable[[Site, Callable[[Any], Tensor | None]], Tensor | None] | None = None,
) -> None:
    """Enter y = F(a, b, …), linear in each factor on its own, plus a part `also` that is linear in other arguments.

    ẏ = Σᵢ F(…, ȧᵢ, …) and ÿ = Σᵢ F(…, äᵢ, …) + 2 Σ_{i<j} F(…, ȧᵢ, …, ȧⱼ, …).
    """
    call = run or op

    def jet(site: Site) -> Jet:
        args, options = recorded(site)
        present = [i for i in factors if isinstance(site.arg(i), Value)]

        def with_(tangents: dict[int, Tensor | None]) -> Tensor | None:
            if any(t is None for t in tangents.values()):
                return None
            put = list(args)
            for i, t in tangents.items():
                put[i] = t
            return call(*put, **options)

        first = add(*[with_({i: site.d(i)}) for i in present])
        bend = add(*[with_({i: site.d(i), j: site.d(j)}) for i, j in combinations(present, 2)])
        second = add(*[with_({i: site.dd(i)}) for i in present], mul(2.0, bend))
        if also is not None:
            first = add(first, also(site, site.first))
            second = add(second, also(site, site.second))
        return first, second

    register(op, Rule(Kind.MULTILINEAR, jet, axis, factors=factors))


# -- where samples go ------------------------------------------------------------------------------------------------


def kept_unless(*dims: Callable[[AxisSite], Sequence[int]]) -> Callable[[AxisSite], Annotation]:
    """The first argument's axis, lost where the operation works along one of the given axes of it."""

    def axis(site: AxisSite) -> Annotation:
        known = site.at(0)
        if not isinstance(known, SampleAxis):
            return known
        rank = max(len(site.shape(0)), 1)
        used = {d % rank for each in dims for d in each(site)}
        return Marker.LOST if known.dim in used else known

    return axis


def leading_axis(site: AxisSite) -> Annotation:
    """Samples along axis 0 stay there, whatever happens to the axes behind; shared stays shared."""
    known = [site.of(v) for v in site.node.inputs]
    named = [k for k in known if isinstance(k, SampleAxis)]
    if not named:
        return next((m for m in (Marker.LOST, Marker.POOLED, Marker.SUMMED) if m in known), Marker.SHARED)
    first = named[0]
    if Marker.LOST in known or any(k != first for k in named) or first.dim != 0:
        return Marker.LOST
    return first


def joined_axis(*positions: int) -> Callable[[AxisSite], Annotation]:
    """Arguments that meet element by element: one axis, or shared ones beside it; anything else is lost."""

    def axis(site: AxisSite) -> Annotation:
        known = [site.at(i) for i in positions if isinstance(site.arg(i), Value)]
        named = [k for k in known if isinstance(k, SampleAxis)]
        if not named:
            return next((m for m in (Marker.LOST, Marker.POOLED, Marker.SUMMED) if m in known), Marker.SHARED)
        if Marker.LOST in known or any(k != named[0] for k in named):
            return Marker.LOST
        return named[0]

    return axis


def constants(site: Site, *positions: int) -> list[Any]:
    """The recorded values of arguments, None where absent."""
    return [fetched(site, site.arg(i)) for i in positions]
