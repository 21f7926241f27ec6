"""Linear algebra on (batches of) matrices: inverses, solves, determinants and factorisations.

Each rule differentiates the defining equation twice and solves it for the second tangent. For A X = B, for example,
Ȧ X + A Ẋ = Ḃ and Ä X + 2 Ȧ Ẋ + A Ẍ = B̈.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Cut, Kind, NotCut, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.data.value import Node
from curvestep.engine.rules.axes import joined_axis
from curvestep.engine.rules.forms import formula
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul


def matrices_axis(s: AxisSite) -> list[Annotation]:
    """Samples among the leading axes of a batch of matrices stay; in the matrix itself they are lost."""
    known = s.at(0)
    if isinstance(known, SampleAxis) and known.dim >= len(s.shape(0)) - 2:
        known = Marker.LOST
    return [known] * len(s.node.outputs)


def matmul(*factors: Tensor | None) -> Tensor | None:
    """The product, zero if a factor is."""
    total: Tensor | None = None
    for i, factor in enumerate(factors):
        if factor is None:
            return None
        total = factor if i == 0 else torch.matmul(total, factor)  # type: ignore[arg-type]
    return total


def _trace(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.diagonal(dim1=-2, dim2=-1).sum(-1)


def _minus(t: Tensor | None) -> Tensor | None:
    return None if t is None else -t


def and_nothing(s: Site, *jets: Jet) -> list[Jet]:
    """The given jets, and none for the remaining outputs (pivots, codes, saved factors)."""
    return [*jets, *[(None, None)] * (len(s.node.outputs) - len(jets))]


# -- inverse ---------------------------------------------------------------------------------------------------------


def _inverse(s: Site) -> list[Jet]:
    y, da = s.y(), s.d(0)
    dy = _minus(matmul(y, da, y))
    return and_nothing(s, (dy, add(_minus(matmul(y, s.dd(0), y)), mul(-2.0, matmul(y, da, dy)))))


op(aten.linalg_inv_ex.default, Rule(Kind.NONLINEAR, _inverse, matrices_axis, keep_outputs=(0,)))


def _pseudo_inverse(s: Site) -> Jet:
    """Golub and Pereyra's derivative of A⁺ at constant rank, and the product rule applied to it."""
    a, y, da, dda = s.x(0), s.y(), s.d(0), s.dd(0)
    yh = y.mH
    left = torch.eye(a.shape[-2], dtype=a.dtype, device=a.device) - a @ y
    right = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device) - y @ a

    def along(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        return add(_minus(matmul(y, t, y)), matmul(y, yh, t.mH, left), matmul(right, t.mH, yh, y))

    dy, second = along(da), along(dda)
    if da is None or dy is None:
        return dy, second
    dyh, dah = dy.mH, da.mH
    dleft, dright = -(da @ y + a @ dy), -(dy @ a + y @ da)
    bend = add(
        -(dy @ da @ y + y @ da @ dy),
        (dy @ yh + y @ dyh) @ dah @ left + y @ yh @ dah @ dleft,
        dright @ dah @ yh @ y + right @ dah @ (dyh @ y + yh @ dy),
    )
    return dy, add(second, bend)


op(
    aten.linalg_pinv.atol_rtol_tensor,
    Rule(Kind.NONLINEAR, _pseudo_inverse, matrices_axis, keep_inputs=(0,), keep_outputs=(0,)),
)


def _least_squares(a: Tensor, b: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Tensor:
    return torch.linalg.pinv(a) @ b


op(
    aten.linalg_lstsq.default,
    formula(_least_squares, lambda s: _batched_axis(s)),
)


# -- determinants ----------------------------------------------------------------------------------------------------


def _log_rates(s: Site) -> tuple[Tensor | None, Tensor | None]:
    """First and second derivative of log det A: tr M and tr(A⁻¹Ä) − tr M², with M = A⁻¹Ȧ."""
    a = s.x(0)
    m = None if s.d(0) is None else torch.linalg.solve(a, s.d(0))
    mm = None if s.dd(0) is None else torch.linalg.solve(a, s.dd(0))
    return _trace(m), add(_trace(mm), _minus(_trace(matmul(m, m))))


def _but(values: Tensor, left_out: int) -> Tensor:
    """The products of all values but one, or but two, along the last axis: shape (…, n) or (…, n, n)."""
    kept = 1 - torch.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    kept = kept if left_out == 1 else kept.unsqueeze(1) * kept
    return torch.where(kept == 0, 1.0, values.reshape(*values.shape[:-1], *[1] * left_out, -1)).prod(-1)


def _singular_determinant(s: Site) -> list[Jet]:
    """det A = det U Π σ det Vᴴ, whose derivatives are sums of products of σ without one or two of them."""
    u, sigma, vh = torch.linalg.svd(s.x(0))
    turn = torch.linalg.det(u) * torch.linalg.det(vh)

    def turned(t: Tensor | None) -> Tensor | None:
        return None if t is None else u.mH @ t @ vh.mH

    b, c = turned(s.d(0)), turned(s.dd(0))

    def rate(t: Tensor | None) -> Tensor | None:
        return None if t is None else turn * (t.diagonal(dim1=-2, dim2=-1) * _but(sigma, 1)).sum(-1)

    second = rate(c)
    if b is not None:
        own = b.diagonal(dim1=-2, dim2=-1)
        minors = (own.unsqueeze(-1) * own.unsqueeze(-2) - b * b.mT) * _but(sigma, 2)
        second = add(turn * minors.sum((-2, -1)), second)
    return and_nothing(s, (rate(b), second))


def _determinant(s: Site) -> list[Jet]:
    y = s.y()
    if s.on_host and not s.watched:
        largest = torch.linalg.vector_norm(s.x(0), dim=-1).prod(-1)  # Hadamard's bound of |det A|
        if bool((y.abs() <= math.sqrt(torch.finfo(y.dtype).eps) * largest).any()):
            return _singular_determinant(s)
    rate, bend = _log_rates(s)
    return and_nothing(s, (mul(y, rate), mul(y, add(bend, mul(rate, rate)))))


def _log_determinant(s: Site) -> list[Jet]:
    # det A = sign·exp(logabs), sign = e^{iφ}: logabs + iφ moves as log det A
    rate, bend = _log_rates(s)
    if not s.x(0).is_complex():
        return and_nothing(s, (None, None), (rate, bend))
    sign = s.y()
    turn, turning = None if rate is None else rate.imag, None if bend is None else bend.imag
    return and_nothing(
        s,
        (
            None if turn is None else 1j * turn * sign,
            add(None if turning is None else 1j * turning * sign, None if turn is None else -turn * turn * sign),
        ),
        (None if rate is None else rate.real, None if bend is None else bend.real),
    )


op(aten._linalg_det.default, Rule(Kind.NONLINEAR, _determinant, matrices_axis, keep_inputs=(0,), keep_outputs=(0,)))
op(
    aten._linalg_slogdet.default,
    Rule(Kind.NONLINEAR, _log_determinant, matrices_axis, keep_inputs=(0,), keep_outputs=(0,)),
)


# -- solves ----------------------------------------------------------------------------------------------------------


def _solution_axis(s: AxisSite) -> list[Annotation]:
    """Samples among the leading axes of both sides, or among the columns (rows) of the right-hand side."""
    a, b = s.at(0), s.at(1)
    rank = len(s.out_shape())
    found: list[SampleAxis] = []
    if isinstance(a, SampleAxis):
        behind = len(s.shape(0)) - a.dim
        if behind <= 2:
            return [Marker.LOST] * len(s.node.outputs)
        found.append(a.at(rank - behind + _is_vector(s)))
    if isinstance(b, SampleAxis):
        held = {rank - 1} if _is_vector(s) or not _left(s) else {rank - 2}
        if b.dim + rank - len(s.shape(1)) in held:
            return [Marker.LOST] * len(s.node.outputs)
        found.append(b.at(b.dim + rank - len(s.shape(1))))
    if Marker.LOST in (a, b) or any(f != found[0] for f in found):
        return [Marker.LOST] * len(s.node.outputs)
    rest = next((m for m in (Marker.POOLED, Marker.SUMMED) if m in (a, b)), Marker.SHARED)
    return [found[0] if found else rest] + [Marker.LOST] * (len(s.node.outputs) - 1)


def _is_vector(s: Any) -> bool:
    """Whether the right-hand side is one vector for each matrix, which the triangular solver does not know."""
    shape, right = s.arg(0).shape, s.arg(1).shape
    return s.node.op is aten._linalg_solve_ex.default and (
        len(right) == 1 or (len(shape) - 1 == len(right) and right == shape[:-1])
    )


def _left(s: Any) -> bool:
    """Whether A stands on the left of the unknown."""
    return s.option(2, "left", True) if "left" in {a.name for a in s.node.op._schema.arguments} else True


def _solved(
    s: Site,
    solve: Callable[[Tensor], Tensor],
    moved: Callable[[Tensor | None], Tensor | None],
    vector: bool,
    left: bool,
) -> Jet:
    """Jets of X in A X = B (or X A = B): `moved` is the part of A's tangent that counts."""

    def tall(t: Tensor | None) -> Tensor | None:
        return t.unsqueeze(-1) if vector and t is not None else t

    def times(a: Tensor | None, x: Tensor | None) -> Tensor | None:
        return matmul(a, x) if left else matmul(x, a)

    def back(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        value = s.node.outputs[0]
        assert value is not None
        shape = value.shape + ((1,) if vector else ())
        return solve(t.expand(torch.broadcast_shapes(t.shape, shape)))

    x = tall(s.y())
    da, dda = moved(s.d(0)), moved(s.dd(0))
    dx = back(add(tall(s.d(1)), _minus(times(da, x))))
    ddx = back(add(tall(s.dd(1)), _minus(times(dda, x)), mul(-2.0, times(da, dx))))

    def flat(t: Tensor | None) -> Tensor | None:
        return t.squeeze(-1) if vector and t is not None else t

    return flat(dx), flat(ddx)


def _solve(s: Site) -> list[Jet]:
    a, left = s.x(0), _left(s)
    vector = _is_vector(s)
    factors = torch.linalg.lu_factor(a)

    def solve(t: Tensor) -> Tensor:
        return torch.linalg.lu_solve(*factors, t, left=left)

    return and_nothing(s, _solved(s, solve, lambda t: t, vector, left))


def _by_its_shape(node: Node, axes: Sequence[SampleAxis | None], batch: int) -> None:
    """Refuse a cut after which one right side for all matrices has the shape of a vector for each of them."""
    del axes, batch
    matrices, right = node.args[0].shape, node.args[1].shape
    if len(matrices) - 1 == len(right) and right != matrices[:-1]:
        raise NotCut(f"{node.name} could take its right side for one vector a sample")


op(
    aten._linalg_solve_ex.default,
    Rule(Kind.NONLINEAR, _solve, _solution_axis, keep_inputs=(0,), keep_outputs=(0,)),
    cut=Cut(counts=_by_its_shape),
)


def _solve_triangular(s: Site) -> Jet:
    a, options = s.x(0), s.node.kwargs
    upper, left, unit = options["upper"], options.get("left", True), options.get("unitriangular", False)

    def part(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        return t.triu(1 if unit else 0) if upper else t.tril(-1 if unit else 0)

    def solve(t: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(a, t, upper=upper, left=left, unitriangular=unit)

    return _solved(s, solve, part, False, left)


op(
    aten.linalg_solve_triangular.default,
    Rule(Kind.NONLINEAR, _solve_triangular, _solution_axis, keep_inputs=(0,), keep_outputs=(0,)),
)


def _batched_axis(s: AxisSite) -> list[Annotation]:
    """Both arguments are batches of matrices with samples along the same leading axis."""
    known = joined_axis(0, 1)(s)
    deep = not isinstance(known, SampleAxis) or all(
        len(s.shape(i)) == len(s.out_shape()) and known.dim < len(s.shape(i)) - 2 for i in (0, 1)
    )
    return [known if deep else Marker.LOST] * len(s.node.outputs)


def _old_triangular_solve(
    b: Tensor, a: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Tensor:
    if transpose:
        return torch.linalg.solve_triangular(a.mT, b, upper=not upper, unitriangular=unitriangular)
    return torch.linalg.solve_triangular(a, b, upper=upper, unitriangular=unitriangular)


def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    lower = factor.mH if upper else factor
    half = torch.linalg.solve_triangular(lower, b, upper=False)
    return torch.linalg.solve_triangular(lower.mH, half, upper=True)


def _cholesky_inverse(factor: Tensor, upper: bool = False) -> Tensor:
    return _cholesky_solve(torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device), factor, upper)


op(aten.triangular_solve.default, formula(_old_triangular_solve, _batched_axis))
op(aten.cholesky_solve.default, formula(_cholesky_solve, _batched_axis))
op(aten.cholesky_inverse.default, formula(_cholesky_inverse, matrices_axis))


# -- exponential -----------------------------------------------------------------------------------------------------


def _matrix_exponential(s: Site) -> Jet:
    """exp of [[A, Ȧ, ½Ä], [0, A, Ȧ], [0, 0, A]] has e^A, its first and half its second tangent in its first row."""
    a = s.x(0)
    n, zero = a.shape[-1], torch.zeros_like(a)
    da = zero if s.d(0) is None else s.d(0)
    dda = zero if s.dd(0) is None else 0.5 * s.dd(0)  # type: ignore[operator]
    assert da is not None
    rows = [torch.cat(row, -1) for row in ([a, da, dda], [zero, a, da], [zero, zero, a])]
    top = torch.linalg.matrix_exp(torch.cat(rows, -2))[..., :n, :]
    return top[..., n : 2 * n], 2.0 * top[..., 2 * n :]


op(aten.linalg_matrix_exp.default, Rule(Kind.NONLINEAR, _matrix_exponential, matrices_axis, keep_inputs=(0,)))
