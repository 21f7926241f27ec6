"""Matrix factorisations: Cholesky, LU, QR, symmetric eigenvectors, singular values, Householder products."""

from __future__ import annotations

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.rules.axes import before
from curvestep.engine.rules.forms import formula
from curvestep.engine.rules.linalg import and_nothing, matmul, matrices_axis
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul


def _symmetric(t: Tensor | None) -> Tensor | None:
    return None if t is None else 0.5 * (t + t.mH)


def _refuse(s: Site, needed: str) -> MissingRuleError:
    return MissingRuleError(
        f"{s.node.name} with {needed} was needed for a derivative rule, but this call is another one. Change the call, "
        "or express the operation by others."
    )


# -- Cholesky --------------------------------------------------------------------------------------------------------


def _cholesky(s: Site) -> list[Jet]:
    """A = L Lᴴ: L⁻¹ Ȧ L⁻ᴴ = Φ + Φᴴ with Φ = L⁻¹ L̇ lower triangular, and the same for Ä − 2 L̇ L̇ᴴ."""
    upper = s.option(1, "upper", False)
    lower = s.y().mH if upper else s.y()

    def half(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        m = torch.linalg.solve_triangular(lower, t, upper=False)
        m = torch.linalg.solve_triangular(lower.mH, m, upper=True, left=False)
        diagonal = m.diagonal(dim1=-2, dim2=-1)
        return lower @ (m.tril() - 0.5 * torch.diag_embed(diagonal))

    dl = half(_symmetric(s.d(0)))
    ddl = half(add(_symmetric(s.dd(0)), None if dl is None else -2.0 * dl @ dl.mH))
    if upper:
        dl, ddl = None if dl is None else dl.mH, None if ddl is None else ddl.mH
    return and_nothing(s, (dl, ddl))


for _op in (aten.linalg_cholesky_ex.default, aten.cholesky.default):
    op(_op, Rule(Kind.NONLINEAR, _cholesky, matrices_axis, keep_outputs=(0,)))


# -- LU --------------------------------------------------------------------------------------------------------------


Pair = tuple["Tensor | None", "Tensor | None"]


def _lu_tangents(p: Tensor, lower: Tensor, upper: Tensor, s: Site) -> tuple[Pair, Pair]:
    """PᵀA = L U: M = L⁻¹ PᵀȦ U⁻¹ splits into L̇ = L·tril(M, −1) and U̇ = triu(M)·U; then the same for Ä − 2 L̇ U̇."""

    def split(t: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if t is None:
            return None, None
        m = torch.linalg.solve_triangular(lower, t, upper=False, unitriangular=True)
        m = torch.linalg.solve_triangular(upper, m, upper=True, left=False)
        return lower @ m.tril(-1), m.triu() @ upper

    dl, du = split(matmul(p.mT, s.d(0)))
    ddl, ddu = split(add(matmul(p.mT, s.dd(0)), mul(-2.0, matmul(dl, du))))
    return (dl, ddl), (du, ddu)


def _square(s: Site) -> None:
    shape = s.arg(0).shape
    if shape[-1] != shape[-2]:
        raise _refuse(s, "a square matrix")


def _lu(s: Site) -> list[Jet]:
    _square(s)
    return [(None, None), *_lu_tangents(s.y(0), s.y(1), s.y(2), s)]


def _packed_lu(s: Site) -> list[Jet]:
    _square(s)
    p, lower, upper = torch.lu_unpack(s.y(0), s.y(1))
    (dl, ddl), (du, ddu) = _lu_tangents(p.to(lower.dtype), lower, upper, s)
    return and_nothing(s, (add(dl, du), add(ddl, ddu)))


op(aten.linalg_lu.default, Rule(Kind.NONLINEAR, _lu, matrices_axis, keep_outputs=(0, 1, 2)))
op(aten.linalg_lu_factor_ex.default, Rule(Kind.NONLINEAR, _packed_lu, matrices_axis, keep_outputs=(0, 1)))


def _lu_solve(packed: Tensor, pivots: Tensor, b: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    eye = torch.eye(packed.shape[-1], dtype=packed.dtype, device=packed.device)
    p, _, _ = torch.lu_unpack(packed.detach(), pivots, unpack_data=False)
    p = p.to(packed.dtype)
    a = p @ (packed.tril(-1) + eye) @ packed.triu()
    return torch.linalg.solve(a.mH if adjoint else a, b, left=left)


def _factors_axis(s: AxisSite) -> Annotation:
    """Samples on one leading axis of factors, pivots and right-hand sides."""
    known = merge([s.at(0), s.at(1), s.at(2)])
    deep = not isinstance(known, SampleAxis) or (
        len(s.shape(0)) == len(s.shape(2)) == len(s.out_shape()) and known.dim < len(s.out_shape()) - 2
    )
    return known if deep else Marker.LOST


op(
    aten.linalg_lu_solve.default,
    formula(_lu_solve, _factors_axis),
)


# -- QR --------------------------------------------------------------------------------------------------------------


def _qr(s: Site) -> list[Jet]:
    """A = Q R: S = Qᵀ Ȧ R⁻¹ splits into a skew part Qᵀ Q̇ and an upper triangular part Ṙ R⁻¹."""
    # For the second tangents, Q̈ R + Q R̈ = Ä − 2 Q̇ Ṙ =: G R and QᵀQ̈ = −Q̇ᵀQ̇ + skew, so Qᵀ G + Q̇ᵀ Q̇ splits the same way.
    q, r = s.y(0), s.y(1)
    if s.option(1, "mode", "reduced") != "reduced" or q.shape[-1] != r.shape[-1] or q.is_complex():
        raise _refuse(s, "mode='reduced' and a real matrix at least as high as wide")

    def over(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.linalg.solve_triangular(r, t, upper=True, left=False)

    def upper(t: Tensor) -> Tensor:
        low = t.tril(-1)
        return t - low + low.mT

    g = over(s.d(0))
    dq = dr = None
    if g is not None:
        t = upper(q.mT @ g)
        dq, dr = g - q @ t, t @ r
    g = over(add(s.dd(0), mul(-2.0, matmul(dq, dr))))
    ddq = ddr = None
    if g is not None:
        inner = q.mT @ g
        t = upper(inner if dq is None else inner + dq.mT @ dq)
        ddq, ddr = g - q @ t, t @ r
    return [(dq, ddq), (dr, ddr)]


op(aten.linalg_qr.default, Rule(Kind.NONLINEAR, _qr, matrices_axis, keep_outputs=(0, 1)))


# -- symmetric eigenvalues -------------------------------------------------------------------------------------------


def _pairwise_gap(w: Tensor) -> Tensor:
    """1/(w_j − w_i) with zeros on the diagonal."""
    gap = w.unsqueeze(-2) - w.unsqueeze(-1)
    same = torch.eye(w.shape[-1], dtype=torch.bool, device=w.device)
    return torch.where(same, 0.0, 1 / torch.where(same, 1.0, gap))


def _eigh(s: Site) -> list[Jet]:
    """A V = V Λ with distinct eigenvalues."""
    # With B = Vᵀ Ȧ V: λ̇ = diag B and V̇ = V K, K_ij = B_ij/(λ_j − λ_i). With C = Vᵀ(Ä V + 2 Ȧ V̇) and V̈ = V N:
    # λ̈ = diag C, N_ij = (C_ij − 2 K_ij λ̇_j)/(λ_j − λ_i), and N_ii = −(KᵀK)_ii keeps the columns at length one.
    a = s.x(0)
    if a.is_complex():
        raise _refuse(s, "a real matrix")
    w, v = s.y(0), s.y(1)
    if v.numel() == 0:  # eigenvalues alone were asked for
        v = torch.linalg.eigh(_symmetric(a))[1]  # type: ignore[arg-type]
    inverse = _pairwise_gap(w)
    da, dda = _symmetric(s.d(0)), _symmetric(s.dd(0))
    dw = dv = k = None
    if da is not None:
        b = v.mT @ da @ v
        dw = b.diagonal(dim1=-2, dim2=-1)
        k = b * inverse
        dv = v @ k
    c = add(matmul(v.mT, dda, v), mul(2.0, matmul(v.mT, da, dv)))
    if c is None:
        return [(dw, None), (dv, None)]
    n = c * inverse
    if k is not None and dw is not None:
        n = n - 2.0 * k * dw.unsqueeze(-2) * inverse - torch.diag_embed((k * k).sum(-2))
    return [(dw, c.diagonal(dim1=-2, dim2=-1)), (dv, v @ n)]


op(aten._linalg_eigh.default, Rule(Kind.NONLINEAR, _eigh, matrices_axis, keep_inputs=(0,), keep_outputs=(0, 1)))


# -- singular values -------------------------------------------------------------------------------------------------


def _svd(s: Site) -> list[Jet]:
    """Distinct, nonzero singular values of a real matrix, thin factors: A V = U Σ and Aᵀ U = V Σ."""
    # Differentiated, both read A X + left = U D + Y Σ and Aᵀ Y + right = V D + X Σ; Y, X, D are the tangents of U,
    # V, Σ. For the first ones left = Ȧ V and right = Ȧᵀ U; for the second ones left = Ä V + 2 Ȧ V̇ − 2 U̇ Σ̇ and
    # right = Äᵀ U + 2 Ȧᵀ U̇ − 2 V̇ Σ̇.
    a = s.x(0)
    if a.is_complex() or (s.arg(1, False) and a.shape[-1] != a.shape[-2]):
        raise _refuse(s, "full_matrices=False and a real matrix")
    u, sigma, vh = s.y(0), s.y(1), s.y(2)
    if u.numel() == 0:  # singular values alone were asked for
        u, _, vh = torch.linalg.svd(a, full_matrices=False)
    v = vh.mT
    row = sigma.unsqueeze(-2)  # σ_j
    inverse = _pairwise_gap(sigma * sigma)
    da, dda = s.d(0), s.dd(0)

    def solved(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """D, Y and X, the last two without components of a column along itself."""
        # With Y = U K + …, X = V M + …: Σ M + P = D + K Σ and Σ K + Q = D + M Σ.
        p, q = u.mT @ left, v.mT @ right
        d = 0.5 * (p + q).diagonal(dim1=-2, dim2=-1)
        column = sigma.unsqueeze(-1)
        k = (p * row + column * q) * inverse
        m = (q * row + column * p) * inverse
        y = u @ k + (left - u @ p) / row
        x = v @ m + (right - v @ q) / row
        return d, y, x

    dsigma = du = dv = None
    if da is not None:
        dsigma, du, dv = solved(da @ v, da.mT @ u)
    left = add(matmul(dda, v), mul(2.0, matmul(da, dv)))
    right = add(None if dda is None else dda.mT @ u, None if da is None or du is None else 2.0 * da.mT @ du)
    if left is None or right is None:
        return [(du, None), (dsigma, None), (None if dv is None else dv.mT, None)]
    if du is not None and dv is not None and dsigma is not None:
        left = left - 2.0 * du * dsigma.unsqueeze(-2)
        right = right - 2.0 * dv * dsigma.unsqueeze(-2)
    ddsigma, ddu, ddv = solved(left, right)
    if du is not None and dv is not None:
        # columns stay of length one: ⟨u, ü⟩ = −|u̇|²
        ddu = ddu - u * (du * du).sum(-2).unsqueeze(-2)
        ddv = ddv - v * (dv * dv).sum(-2).unsqueeze(-2)
    return [(du, ddu), (dsigma, ddsigma), (None if dv is None else dv.mT, ddv.mT)]


op(aten._linalg_svd.default, Rule(Kind.NONLINEAR, _svd, matrices_axis, keep_inputs=(0,), keep_outputs=(0, 1, 2)))


# -- Householder reflections -----------------------------------------------------------------------------------------


def _householder(a: Tensor, tau: Tensor) -> Tensor:
    """The first columns of H₁ H₂ … H_k, with H_i = I − τ_i v_i v_iᵀ and v_i one below a unit and zeros."""
    rows, columns = a.shape[-2:]
    eye = torch.eye(rows, columns, dtype=a.dtype, device=a.device)
    out = eye.expand(a.shape)
    full = torch.eye(rows, dtype=a.dtype, device=a.device)
    for i in reversed(range(tau.shape[-1])):
        v = a[..., :, i] * (torch.arange(rows, device=a.device) > i) + full[i]
        v = v.unsqueeze(-1)
        out = out - tau[..., i, None, None] * (v @ (v.mH @ out))
    return out


op(aten.linalg_householder_product.default, formula(_householder, before(2, 0, 1)))
