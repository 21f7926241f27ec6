"""Rows of curvestep.engine.rules.product and distance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Row, apart, normal, positive

aten = torch.ops.aten


def gaps(p: float) -> Any:
    return lambda a, b: ((a.unsqueeze(-2) - b.unsqueeze(-3)).abs() ** p).sum(-1) ** (1 / p)


def far(shape: tuple[int, ...]) -> Any:
    return positive(*shape)


def opposite(run: Any) -> Any:
    """Distances between two clouds that do not meet, each coordinate apart from the others."""
    return lambda a, b: run(a, -b)


def own_gaps(p: float) -> Any:
    def run(x: Tensor) -> Tensor:
        i, j = torch.triu_indices(len(x), len(x), 1)
        return ((x[i] - x[j]).abs() ** p).sum(1) ** (1 / p)

    return run


def scaled(run: Any) -> Any:
    return lambda x, a, b: run(x, a, b, beta=0.6, alpha=-1.4)


CLOUDS = [positive(3, 5, 2), positive(3, 4, 2)]

ROWS = [
    Row("aten.vdot.default", torch.vdot, [normal(4), normal(4)], sampled=()),
    Row("aten.addbmm.default", scaled(torch.addbmm), [normal(2, 5), normal(4, 2, 6), normal(4, 6, 5)], sampled=()),
    Row("aten.addr.default", scaled(torch.addr), [normal(4, 5), normal(4), normal(5)], sampled=()),
    Row("aten.mul.Tensor", torch.outer, [normal(4), normal(5)], "outer", sampled=()),
    Row("aten.linalg_cross.default", torch.linalg.cross, [normal(3, 3), normal(3, 3)], sampled=(0, 1)),
    Row(
        "aten.linalg_cross.default",
        lambda a, b: torch.cross(a, b, dim=1),
        [normal(3, 3, 2), normal(3, 3, 2)],
        "axis",
        (0, 1),
    ),
    Row(
        "aten._trilinear.default",
        F.bilinear,
        [normal(3, 4), normal(3, 5), normal(2, 4, 5), normal(2)],
        "bilinear",
        (0, 1),
    ),
    Row(
        "aten._trilinear.default",
        F.bilinear,
        [normal(3, 2, 4), normal(3, 2, 5), normal(2, 4, 5)],
        "tokens",
        (0, 1),
        exact=None,
    ),
    Row(
        "aten.conv_tbc.default",
        lambda x, w, b: torch.conv_tbc(x, w, b, 1),
        [normal(5, 2, 4), normal(2, 4, 6), normal(6)],
        sampled=(),
    ),
    Row("aten.block_diag.default", torch.block_diag, [normal(2, 4), normal(5, 2)], sampled=()),
    Row("aten._cdist_forward.default", opposite(torch.cdist), CLOUDS, sampled=(0, 1), explicit=opposite(gaps(2.0))),
    Row(
        "aten._cdist_forward.default",
        opposite(lambda a, b: torch.cdist(a, b, p=3.0)),
        CLOUDS,
        "p=3",
        (0, 1),
        explicit=opposite(gaps(3.0)),
    ),
    Row(
        "aten._cdist_forward.default",
        opposite(lambda a, b: torch.cdist(a, b, p=1.0)),
        CLOUDS,
        "p=1",
        (0, 1),
        explicit=opposite(gaps(1.0)),
    ),
    Row(
        "aten._cdist_forward.default",
        opposite(torch.cdist),
        [positive(3, 2), positive(5, 2)],
        "to weights",
        explicit=opposite(gaps(2.0)),
    ),
    Row(
        "aten._euclidean_dist.default",
        opposite(lambda a, b: torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")),
        CLOUDS,
        sampled=(0, 1),
        explicit=opposite(gaps(2.0)),
        exact=True,
    ),
    Row("aten._pdist_forward.default", F.pdist, [apart(5, 3)], sampled=(), explicit=own_gaps(2.0)),
    Row(
        "aten._pdist_forward.default",
        lambda x: F.pdist(x, 3.0),
        [apart(5, 3)],
        "p=3",
        sampled=(),
        explicit=own_gaps(3.0),
    ),
    Row(
        "aten.norm.ScalarOpt_dim", lambda a, b: F.pairwise_distance(a, b), [normal(3, 4), normal(3, 4)], sampled=(0, 1)
    ),
    Row(
        "aten.norm.ScalarOpt_dim",
        lambda a, b: F.pairwise_distance(a, b, p=3.0, keepdim=True),
        [apart(3, 4), positive(3, 4)],
        "p=3",
        (0, 1),
        smooth=False,
    ),
    Row(
        "aten.norm.ScalarOpt_dim",
        lambda x: aten.norm.ScalarOpt_dim(x, float("inf"), [1]),
        [apart(3, 4)],
        "maximum",
        explicit=lambda x: x.abs().amax(1),
        smooth=False,
    ),
    Row(
        "aten.norm.Scalar",
        lambda x: aten.norm.Scalar(x, 2),
        [normal(4, 3)],
        sampled=(),
        explicit=lambda x: x.square().sum().sqrt(),
    ),
    Row("aten.dist.default", torch.dist, [normal(4, 3), normal(4, 3)], sampled=()),
    Row(
        "aten.renorm.default",
        lambda x: torch.renorm(x, 2, 0, 1.5),
        [normal(3, 4)],
        explicit=lambda x: x * (1.5 / (x.norm(dim=1, keepdim=True) + 1e-7)).clamp(max=1.0),
        smooth=False,
    ),
]
