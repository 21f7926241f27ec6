"""Rows of curvestep.engine.rules.resample: inputs are squared first, so that linear operations see second tangents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Draw, Row, apart, between, integers, normal, positive

aten = torch.ops.aten
IMAGE = normal(3, 2, 5, 4)
BAGS = torch.tensor([[0, 1, 1], [2, 3, 0], [4, 4, 2]])


def squared(run: Any) -> Any:
    return lambda x, *rest: run(x * x, *rest)


def linear(name: str, run: Any, draw: Draw = IMAGE, desc: str = "", **more: Any) -> Row:
    return Row(f"aten.{name}.default", squared(run), [draw], desc, **more)


def resized(mode: str, **options: Any) -> Any:
    return lambda x: F.interpolate(x, mode=mode, **options)


def unpooled(rank: int) -> Any:
    pool, back = getattr(F, f"max_pool{rank}d"), getattr(F, f"max_unpool{rank}d")

    def run(x: Tensor) -> Tensor:
        y, index = pool(x.detach(), 2, return_indices=True)
        small = F.avg_pool3d(x, 2) if rank == 3 else F.avg_pool2d(x, 2) if rank == 2 else F.avg_pool1d(x, 2)
        return back(small + 0 * y, index, 2)

    return run


def fractional(rank: int) -> Any:
    run = getattr(F, f"fractional_max_pool{rank}d")

    def pooled(x: Tensor) -> Tensor:
        samples = torch.full((x.shape[0], x.shape[1], rank), 0.4, dtype=x.dtype)
        return run(x, 2, output_size=2, _random_samples=samples)

    return pooled


def bag(mode: str, offsets: bool = False) -> Any:
    if offsets:  # bags of different lengths
        return lambda i, w: F.embedding_bag(i.flatten()[:8], w, torch.tensor([0, 2, 3]), mode=mode)
    return lambda i, w, *scale: F.embedding_bag(i, w, mode=mode, per_sample_weights=scale[0] if scale else None)


def bag_formula(mode: str, offsets: bool = False) -> Any:
    def run(i: Tensor, w: Tensor, *scale: Tensor) -> Tensor:
        if offsets:
            flat = i.flatten()[:8]
            parts = [w[flat[:2]], w[flat[2:3]], w[flat[3:]]]
        else:
            read = w[i] * scale[0].unsqueeze(-1) if scale else w[i]
            parts = list(read)
        return torch.stack([{"sum": p.sum, "mean": p.mean, "max": p.amax}[mode](0) for p in parts])

    return run


def sample(**options: Any) -> Any:
    return lambda x, g: F.grid_sample(x, g, **options)


def read_at(x: Tensor, g: Tensor) -> Tensor:
    """Bilinear reading inside the image with aligned corners, from the definition: Σ pixels × two hat functions."""
    height, width = x.shape[2:]
    u = (g[..., 0] + 1) * (width - 1) / 2
    v = (g[..., 1] + 1) * (height - 1) / 2
    hat_u = torch.relu(1 - (u.unsqueeze(-1) - torch.arange(width, dtype=x.dtype)).abs())
    hat_v = torch.relu(1 - (v.unsqueeze(-1) - torch.arange(height, dtype=x.dtype)).abs())
    return torch.einsum("bchw,bijh,bijw->bcij", x, hat_v, hat_u)


def keys(t: Tensor) -> Tensor:
    """Keys' cubic kernel of a distance, with a = −3/4."""
    a, t = -0.75, t.abs()
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return torch.where(t < 1, near, torch.where(t < 2, far, 0.0))


def read_cubic(border: bool) -> Any:
    """Bicubic reading with aligned corners, from the definition; a border repeats the last pixel."""
    more = 6 if border else 0

    def run(x: Tensor, g: Tensor) -> Tensor:
        u = (g[..., 0] + 1) * (x.shape[3] - 1) / 2 + more
        v = (g[..., 1] + 1) * (x.shape[2] - 1) / 2 + more
        x = F.pad(x, [more] * 4, mode="replicate") if border else x
        across = keys(u.unsqueeze(-1) - torch.arange(x.shape[3], dtype=x.dtype))
        down = keys(v.unsqueeze(-1) - torch.arange(x.shape[2], dtype=x.dtype))
        return torch.einsum("bchw,bijh,bijw->bcij", x, down, across)

    return run


def read_at_3d(x: Tensor, g: Tensor) -> Tensor:
    total: Tensor = x
    hats = []
    for axis, size in enumerate(x.shape[2:]):
        u = (g[..., 2 - axis] + 1) * (size - 1) / 2
        hats.append(torch.relu(1 - (u.unsqueeze(-1) - torch.arange(size, dtype=x.dtype)).abs()))
    return torch.einsum("bcdhw,bijkd,bijkh,bijkw->bcijk", total, *hats)


INSIDE = between(-0.9, 0.9)
GRID = INSIDE(3, 2, 3, 2)
WIDE = between(-1.6, 1.6)(3, 2, 3, 2)
PADDINGS = [(p, a) for p in ("zeros", "border", "reflection") for a in (False, True)]

ROWS = [
    linear("_upsample_nearest_exact1d", resized("nearest-exact", size=7), normal(3, 2, 5)),
    linear("_upsample_nearest_exact2d", resized("nearest-exact", size=(7, 3))),
    linear("_upsample_nearest_exact3d", resized("nearest-exact", size=(5, 3, 2)), normal(3, 2, 3, 2, 4)),
    linear("_upsample_bilinear2d_aa", resized("bilinear", size=(3, 3), antialias=True)),
    linear("_upsample_bicubic2d_aa", resized("bicubic", size=(3, 3), antialias=True)),
    linear("channel_shuffle", lambda x: F.channel_shuffle(x, 2), normal(3, 4, 2, 2)),
    linear("im2col", lambda x: F.unfold(x, 2, padding=1, stride=2)),
    linear("col2im", lambda x: F.fold(x, (4, 4), 2), normal(3, 8, 9)),
    linear("affine_grid_generator", lambda x: F.affine_grid(x, [3, 1, 4, 5], align_corners=False), normal(3, 2, 3)),
    linear(
        "affine_grid_generator", lambda x: F.affine_grid(x, [3, 1, 2, 4, 5], align_corners=True), normal(3, 3, 4), "3d"
    ),
    linear("fractional_max_pool2d", fractional(2), apart(3, 2, 5, 5), smooth=False),
    linear("fractional_max_pool3d", fractional(3), apart(3, 1, 4, 4, 4), smooth=False),
    linear("max_unpool2d", unpooled(2), apart(3, 2, 4, 4), smooth=False),
    linear("max_unpool2d", unpooled(1), apart(3, 2, 6), "1d", smooth=False),
    linear("max_unpool3d", unpooled(3), apart(3, 1, 4, 2, 4), smooth=False),
    *[
        Row(
            "aten._embedding_bag.default",
            bag(mode, cut),
            [BAGS, apart(5, 4)],
            f"{mode}{' of offsets' if cut else ''}",
            explicit=bag_formula(mode, cut),
            smooth=mode != "max",
            exact=None if cut else True,
        )
        for mode in ("sum", "mean", "max")
        for cut in (False, True)
    ],
    Row(
        "aten._embedding_bag.default",
        bag("sum"),
        [BAGS, normal(5, 4), normal(3, 3)],
        "weights of samples",
        (0, 2),
        explicit=bag_formula("sum"),
    ),
    *[
        Row(
            "aten.grid_sampler_2d.default",
            sample(padding_mode=p, align_corners=a),
            [IMAGE, WIDE],
            f"bilinear {p}{' aligned' if a else ''}",
            (0, 1),
            smooth=False,
        )
        for p, a in PADDINGS
    ],
    *[
        Row(
            "aten.grid_sampler_2d.default",
            sample(mode="bicubic", padding_mode=padding, align_corners=True),
            [IMAGE, WIDE],
            f"bicubic {padding}",
            (0, 1),
            explicit=read_cubic(padding == "border"),
            smooth=False,
        )
        for padding in ("zeros", "border")
    ],
    Row(
        "aten.grid_sampler_2d.default",
        sample(align_corners=True),
        [IMAGE, GRID],
        "inside",
        (0, 1),
        explicit=read_at,
        smooth=False,
    ),
    Row(
        "aten.grid_sampler_2d.default",
        sample(mode="nearest", align_corners=False),
        [IMAGE, WIDE],
        "nearest",
        (0, 1),
        smooth=False,
    ),
    Row(
        "aten.grid_sampler_3d.default",
        sample(align_corners=True),
        [normal(3, 2, 3, 4, 2), INSIDE(3, 1, 2, 2, 3)],
        "inside",
        (0, 1),
        explicit=read_at_3d,
        smooth=False,
    ),
    Row(
        "aten.gather.default",
        lambda x, i: (x * x).take_along_dim(i, 1),
        [normal(3, 5), integers(5)(3, 2)],
        "take_along_dim",
    ),
    Row(
        "aten.index_select.default",
        lambda x: (x * x).repeat_interleave(torch.tensor([1, 2, 0, 3]), 1),
        [positive(3, 4)],
        "repeat_interleave",
    ),
]
