"""Rows of curvestep.engine.rules.linalg and factorization: well-conditioned matrices with distinct eigenvalues."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.engine.ops.row import Row, normal

L = torch.linalg
SQUARE = normal(3, 4, 4)
TALL = normal(3, 5, 3)


def near_identity(x: Tensor) -> Tensor:
    """Invertible, with distinct eigenvalues and singular values."""
    n = x.shape[-1]
    return 0.3 * x + torch.diag(torch.arange(2, n + 2, dtype=x.dtype))


def tall(x: Tensor) -> Tensor:
    n = x.shape[-1]
    return 0.3 * x + torch.eye(x.shape[-2], n, dtype=x.dtype) * torch.arange(2, n + 2, dtype=x.dtype)


def positive(x: Tensor) -> Tensor:
    a = near_identity(x)
    return a @ a.mT


def symmetric(x: Tensor) -> Tensor:
    a = near_identity(x)
    return a @ a.mT / 2


def of(prepare: Callable[[Tensor], Tensor], run: Any) -> Any:
    return lambda x, *rest: run(prepare(x), *rest)


def row(name: str, prepare: Any, run: Any, desc: str = "", inputs: Any = None, **more: Any) -> Row:
    given = [SQUARE if prepare is not tall else TALL] if inputs is None else inputs
    more.setdefault("sampled", tuple(range(len(given))))
    return Row(f"aten.{name}" if "." in name else f"aten.{name}.default", of(prepare, run), given, desc, **more)


def with_signs(run: Any) -> Any:
    """Factors whose columns are fixed up to a sign: products of them do not depend on it."""
    return lambda a: [t for t in run(a)]


def eigenvectors(a: Tensor) -> Tensor:
    w, v = L.eigh(a)
    return v.square() * w.unsqueeze(-2)


def singular(a: Tensor) -> list[Tensor]:
    u, s, vh = L.svd(a, full_matrices=False)
    return [s, u.square(), vh.square(), u @ vh]


def lu_parts(a: Tensor) -> list[Tensor]:
    _, lower, upper = L.lu(a)
    return [lower, upper]


def through_lu(a: Tensor, b: Tensor) -> Tensor:
    return L.lu_solve(*L.lu_factor(a), b)


def lower(x: Tensor) -> Tensor:
    return near_identity(x).tril()


def old_cholesky(a: Tensor) -> Tensor:
    with warnings.catch_warnings():  # it is deprecated
        warnings.simplefilter("ignore")
        return torch.cholesky(a)


def reflections(a: Tensor) -> Tensor:
    packed, tau = torch.geqrf(a.detach())
    return L.householder_product(packed.detach() + 0.1 * torch.tanh(a), tau.detach() + 0.1 * torch.tanh(a[..., 0, :]))


SOLVE = [SQUARE, normal(3, 4, 2)]

ROWS = [
    row("linalg_inv_ex", near_identity, L.inv),
    Row("aten.linalg_inv_ex.default", of(near_identity, L.inv), [normal(4, 4)], "of weights", sampled=()),
    row("_linalg_det", near_identity, L.det),
    row("_linalg_slogdet", near_identity, lambda a: L.slogdet(a).logabsdet),
    row("_linalg_slogdet", positive, torch.logdet, "logdet"),
    row("_linalg_solve_ex", near_identity, L.solve, inputs=SOLVE),
    row("_linalg_solve_ex", near_identity, L.solve, "vector", [SQUARE, normal(3, 4)]),
    row("_linalg_solve_ex", near_identity, lambda a, b: L.solve(a, b, left=False), "right", [SQUARE, normal(3, 2, 4)]),
    row(
        "_linalg_solve_ex", near_identity, L.solve, "one matrix for all", [normal(4, 4), normal(3, 4, 2)], sampled=(1,)
    ),
    row("linalg_solve_triangular", near_identity, lambda a, b: L.solve_triangular(a, b, upper=True), inputs=SOLVE),
    row(
        "linalg_solve_triangular",
        near_identity,
        lambda a, b: L.solve_triangular(a, b, upper=False, left=False, unitriangular=True),
        "unit, right",
        [SQUARE, normal(3, 2, 4)],
    ),
    row(
        "triangular_solve",
        near_identity,
        lambda a, b: torch.ops.aten.triangular_solve(b, a, False, True)[0],
        inputs=SOLVE,
        explicit=of(near_identity, lambda a, b: L.inv(a.tril().mT) @ b),
    ),
    row(
        "cholesky_solve",
        lower,
        lambda a, b: torch.cholesky_solve(b, a),
        inputs=SOLVE,
        explicit=of(lower, lambda a, b: L.inv(a @ a.mT) @ b),
    ),
    row(
        "cholesky_solve",
        lower,
        lambda a, b: torch.cholesky_solve(b, a.mT, upper=True),
        "upper",
        SOLVE,
        explicit=of(lower, lambda a, b: L.inv(a @ a.mT) @ b),
    ),
    row("cholesky_inverse", lower, torch.cholesky_inverse, explicit=of(lower, lambda a: L.inv(a @ a.mT))),
    row("linalg_matrix_exp", lambda x: 0.3 * x, L.matrix_exp),
    row("linalg_pinv.atol_rtol_tensor", tall, L.pinv, explicit=of(tall, lambda a: L.inv(a.mT @ a) @ a.mT)),
    row(
        "linalg_pinv.atol_rtol_tensor",
        lambda x: tall(x).mT,
        L.pinv,
        "wide",
        [TALL],
        explicit=of(tall, lambda a: a @ L.inv(a.mT @ a)),
    ),
    row(
        "linalg_lstsq",
        tall,
        lambda a, b: L.lstsq(a, b).solution,
        inputs=[TALL, normal(3, 5, 2)],
        explicit=of(tall, lambda a, b: L.inv(a.mT @ a) @ a.mT @ b),
    ),
    row("linalg_cholesky_ex", positive, L.cholesky),
    row("linalg_cholesky_ex", positive, lambda a: L.cholesky(a, upper=True), "upper"),
    row("cholesky", positive, old_cholesky, explicit=of(positive, L.cholesky)),
    row("linalg_lu", near_identity, lu_parts),
    row("linalg_lu_factor_ex", near_identity, lambda a: L.lu_factor(a)[0]),
    row("linalg_lu_solve", near_identity, through_lu, inputs=SOLVE, explicit=of(near_identity, L.solve)),
    row("linalg_qr", near_identity, with_signs(L.qr)),
    row("linalg_qr", tall, with_signs(L.qr), "tall"),
    row("_linalg_eigh", symmetric, L.eigvalsh, "values"),
    row("_linalg_eigh", symmetric, eigenvectors),
    row("_linalg_svd", tall, L.svdvals, "values"),
    row("_linalg_svd", tall, singular, "tall"),
    row("_linalg_svd", near_identity, singular, "square"),
    row("_linalg_svd", lambda x: tall(x).mT, singular, "wide", [TALL]),
    row("_linalg_svd", tall, lambda a: L.matrix_norm(a, "nuc"), "nuclear norm"),
    # whose factors come from an operation of which no rule says where the samples go
    row("linalg_householder_product", tall, reflections, smooth=False, exact=None),
]
