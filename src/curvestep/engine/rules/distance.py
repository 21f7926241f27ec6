"""p-norms, and distances between rows: norms of differences, a block of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules.complex import modulus_jet
from curvestep.engine.rules.forms import torchs_formula
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.reduce import dims_of, reduced_axis
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul

BLOCK_ELEMENTS = 1 << 22  # differences made at once: 16 MiB in float32


def norm_jet(
    x: Tensor, order: float, dims: list[int], dx: Tensor | None, ddx: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The p-norm of x along axes that are kept, and its jet; zero at the origin, as autograd's derivative is."""
    if x.is_complex():
        modulus = x.abs()
        dx, ddx = modulus_jet(x, modulus, dx, ddx)  # type: ignore[assignment]
        x = modulus
    y = torch.linalg.vector_norm(x, order, dims, keepdim=True)

    def total(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.sum(dims, keepdim=True)

    if order == 0:
        return y, None, None
    if math.isinf(order):
        hit = (x.abs() == y).to(x.dtype).detach()
        weight = torch.sign(x).detach() * hit / hit.sum(dims, keepdim=True)
        return y, total(mul(weight, dx)), total(mul(weight, ddx))
    if order == 1:
        sign = torch.sign(x).detach()
        return y, total(mul(sign, dx)), total(mul(sign, ddx))
    # yᵖ = Σ|x|ᵖ: with n = x/y, ẏ = Σ w ẋ for w = sign(x)|n|^(p−1), and ÿ = Σ w ẍ + (p−1)(Σ|n|^(p−2) ẋ² − ẏ²)/y
    origin = y == 0
    safe = torch.where(origin, 1.0, y)
    n = torch.where(origin, 0.0, x / safe)
    if order == 2:
        weight, square = n, None if dx is None else dx * dx
    else:
        size = torch.where(n == 0, 1.0, n.abs())  # |n|^(p−2) at a zero element: taken as zero
        square = None if dx is None else torch.where(n == 0, 0.0, size ** (order - 2)) * dx * dx
        weight = torch.where(n == 0, 0.0, torch.sign(n) * size ** (order - 1))
    dy = total(mul(weight, dx))
    curve = None if dy is None else add(total(square), -dy * dy)
    second = add(
        total(mul(weight, ddx)), None if curve is None else torch.where(origin, 0.0, (order - 1) * curve / safe)
    )
    return y, dy, second


# -- norms -----------------------------------------------------------------------------------------------------------


def _norm(s: Site) -> Jet:
    x, order = s.x(0), s.arg(1, 2)
    dims, keep = dims_of(s.arg(2), x.dim()), s.arg(3, False)
    _, dy, ddy = norm_jet(x, 2 if order is None else order, dims, s.d(0), s.dd(0))

    def shaped(t: Tensor | None) -> Tensor | None:
        return t if t is None or keep or not dims else t.squeeze(dims)

    return shaped(dy), shaped(ddy)


def _norm_axis(s: AxisSite) -> Annotation:
    return reduced_axis(s, dims_of(s.arg(2), len(s.shape(0))), s.arg(3, False), Marker.POOLED)


for _op in (aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim, aten.norm.Scalar):
    op(_op, Rule(Kind.NONLINEAR, _norm, _norm_axis, keep_inputs=(0,)))


def _whole(s: AxisSite) -> Annotation:
    known = [s.of(v) for v in s.node.inputs]
    pooled = any(isinstance(k, SampleAxis) for k in known) or Marker.POOLED in known
    return Marker.LOST if Marker.LOST in known else Marker.POOLED if pooled else Marker.SHARED


def _along_slices(s: AxisSite) -> Annotation:
    known = s.at(0)
    return Marker.LOST if isinstance(known, SampleAxis) and known.dim != s.arg(2) % len(s.shape(0)) else known


op(aten.dist.default, torchs_formula(aten.dist.default, _whole))
op(aten.renorm.default, torchs_formula(aten.renorm.default, _along_slices))


# -- all pairs -------------------------------------------------------------------------------------------------------


def _blocks(rows: int, per_row: int) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK_ELEMENTS // max(per_row, 1))
    for start in range(0, rows, step):
        yield start, min(start + step, rows) - start


def _pairwise(s: Site, p: float) -> Jet:
    a, b = s.x(0), s.x(1)
    per_row = math.prod(a.shape[:-2]) * b.shape[-2] * b.shape[-1]
    firsts: list[Tensor | None] = []
    seconds: list[Tensor | None] = []

    def gap(left: Tensor | None, right: Tensor | None, start: int, size: int) -> Tensor | None:
        return add(
            None if left is None else left.narrow(-2, start, size).unsqueeze(-2),
            None if right is None else -right.unsqueeze(-3),
        )

    for start, size in _blocks(a.shape[-2], per_row):
        x = gap(a, b, start, size)
        assert x is not None
        dx, ddx = gap(s.d(0), s.d(1), start, size), gap(s.dd(0), s.dd(1), start, size)
        _, dy, ddy = norm_jet(x, p, [-1], dx, ddx)
        firsts.append(None if dy is None else dy.squeeze(-1))
        seconds.append(None if ddy is None else ddy.squeeze(-1))

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        held = [t for t in parts if t is not None]
        return torch.cat(held, -2) if held and len(held) == len(parts) else None

    return joined(firsts), joined(seconds)


def _pairs_axis(s: AxisSite) -> Annotation:
    """Samples among the leading axes stay there; samples as rows of one side become rows or columns."""
    left, right = s.at(0), s.at(1)
    rank = len(s.out_shape())
    found: list[SampleAxis] = []
    for known, shape, row in ((left, s.shape(0), rank - 2), (right, s.shape(1), rank - 1)):
        if known is Marker.LOST:
            return Marker.LOST
        if isinstance(known, SampleAxis):
            if known.dim == len(shape) - 1:
                return Marker.LOST
            at = row if known.dim == len(shape) - 2 else known.dim + rank - len(shape)
            found.append(known.at(at))
    if not found:
        return next((m for m in (Marker.POOLED, Marker.SUMMED) if m in (left, right)), Marker.SHARED)
    return found[0] if all(f == found[0] for f in found) else Marker.LOST


op(aten._cdist_forward.default, Rule(Kind.NONLINEAR, lambda s: _pairwise(s, s.arg(2)), _pairs_axis, keep_inputs=(0, 1)))
op(aten._euclidean_dist.default, Rule(Kind.NONLINEAR, lambda s: _pairwise(s, 2.0), _pairs_axis, keep_inputs=(0, 1)))


def _own_pairs(s: Site) -> Jet:
    x, p = s.x(0), s.arg(1, 2.0)
    i, j = torch.triu_indices(x.shape[0], x.shape[0], 1, device=x.device)

    def gap(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[i] - t[j]

    u = gap(x)
    assert u is not None
    _, dy, ddy = norm_jet(u, p, [1], gap(s.d(0)), gap(s.dd(0)))
    return None if dy is None else dy.squeeze(1), None if ddy is None else ddy.squeeze(1)


op(
    aten._pdist_forward.default,
    Rule(
        Kind.NONLINEAR,
        _own_pairs,
        lambda s: Marker.LOST if isinstance(s.at(0), SampleAxis) else s.at(0),
        keep_inputs=(0,),
    ),
)
