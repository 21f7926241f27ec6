"""Resampling: interpolation, unpooling, patches, bags of embeddings, and reading an image at moving positions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Cut, Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.rules.axes import before, kept_unless, leading_axis
from curvestep.engine.rules.forms import jointly_linear, linear_in_first, recorded
from curvestep.engine.rules.index import require_own_gradient, table_of_positions
from curvestep.engine.rules.linear import product_jet
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.pool import max_pool
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op

# -- interpolation and shuffles --------------------------------------------------------------------------------------

for _op, _mixed in (
    (aten._upsample_nearest_exact1d.default, 1),
    (aten._upsample_nearest_exact2d.default, 2),
    (aten._upsample_bilinear2d_aa.default, 2),
    (aten._upsample_bicubic2d_aa.default, 2),
    (aten._upsample_nearest_exact3d.default, 3),
):
    op(_op, linear_in_first(before(_mixed)))

op(aten.channel_shuffle.default, linear_in_first(kept_unless(lambda s: [1])))
for _op in (aten.im2col.default, aten.col2im.default):
    op(_op, linear_in_first(kept_unless(lambda s: [-1, -2, -3] if s.node.op is aten.im2col.default else [-1, -2])))


def _grid_sizes(args: list[Any], out: tuple[int, ...], narrowed: Any) -> list[Any]:
    return [args[0], [args[0].shape[0], *args[1][1:]], *args[2:]]


op(
    aten.affine_grid_generator.default,
    linear_in_first(lambda s: s.at(0) if s.at(0) in (SampleAxis(0), Marker.SHARED, Marker.LOST) else Marker.LOST),
    cut=Cut(sizes=_grid_sizes),
)

# -- pooling by recorded winners, and back ---------------------------------------------------------------------------

op(aten.fractional_max_pool2d.default, max_pool(2, 3), kinks=True)
op(aten.fractional_max_pool3d.default, max_pool(3, 3), kinks=True)
op(aten.max_unpool2d.default, jointly_linear((0,), before(2, 0, 1)))
op(aten.max_unpool3d.default, jointly_linear((0,), before(3, 0, 1)))


# -- bags of embeddings ----------------------------------------------------------------------------------------------

SUM, MEAN, MAX = 0, 1, 2


def _bag(s: Site) -> list[Jet]:
    require_own_gradient(s)
    weight, index, offsets, _, mode, _, per_sample, *rest = recorded(s)[0] + [None] * 9
    last, padding = (rest + [False, -1])[:2]
    last, padding = bool(last), -1 if padding is None else padding
    none: list[Jet] = [(None, None)] * 3
    if mode == MAX:
        winners = s.y(3)
        empty = (s.y(2) == 0).unsqueeze(-1)

        return [s.through(lambda t: t.gather(0, winners.clamp(min=0)).masked_fill(empty, 0.0)), *none]

    def total(w: Tensor, scale: Tensor | None) -> Tensor:
        return aten._embedding_bag.default(w, index, offsets, False, mode, False, scale, last, padding)[0]

    if s.live(6):
        return [product_jet(s, 0, 6, total), *none]

    return [s.through(lambda t: total(t, per_sample)), *none]


def _bag_axis(s: AxisSite) -> list[Annotation]:
    """One bag a sample: equally many indices for each, side by side, or starts that are the samples'."""
    read, starts = merge([s.at(1), s.at(6)]), s.at(2)
    known = merge([s.at(0), read, starts])
    if isinstance(known, SampleAxis):
        begun = starts == SampleAxis(0) and read is Marker.SHARED
        even = starts is Marker.SHARED and isinstance(read, SampleAxis) and _even(s, read)
        known = SampleAxis(0) if s.shared(0) and (begun or even) else Marker.LOST
    return [known, Marker.LOST, Marker.LOST, Marker.LOST]


def _even(s: AxisSite, read: SampleAxis) -> bool:
    """Whether every bag is the stretch of one sample in the list of indices."""
    starts = s.arg(2)
    made = table_of_positions(starts)
    spaced = made is not None and tuple(made.args) == (0, s.shape(1)[0], read.inner)
    return (
        read.outer == 1
        and read.owners is None
        and spaced
        and starts.shape == (s.batch,)
        and s.out_shape()[0] == s.batch
    )


op(aten._embedding_bag.default, Rule(Kind.MULTILINEAR, _bag, _bag_axis, factors=(0, 6), keep_outputs=(2, 3)))


# -- an image read at moving positions -------------------------------------------------------------------------------

BILINEAR, NEAREST, BICUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2


def _pixels(u: Tensor, size: int, aligned: bool) -> Tensor:
    """Positions in [−1, 1] as pixel numbers."""
    return (u + 1) * ((size - 1) / 2) if aligned else ((u + 1) * size - 1) / 2


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """Positions folded back into [low, high]."""
    span = high - low
    if span == 0:
        return x * 0.0
    away = (x - low).abs()
    turns = torch.floor(away.detach() / span)
    rest = away - turns * span
    odd = turns % 2 == 1
    return torch.where(odd, span - rest, rest) + low


def _bounded(x: Tensor, size: int, padding: int, aligned: bool) -> Tensor:
    if padding == REFLECTION:
        x = _reflected(x, 0.0, size - 1.0) if aligned else _reflected(x, -0.5, size - 0.5)
    return x if padding == ZEROS else x.clamp(0, size - 1)


def _cubic(t: Tensor) -> list[Tensor]:
    """Weights of the four neighbours at t in [0, 1): Keys' kernel with a = −3/4."""
    a = -0.75

    def near(z: Tensor) -> Tensor:
        return ((a + 2) * z - (a + 3)) * z * z + 1

    def far(z: Tensor) -> Tensor:
        return ((a * z - 5 * a) * z + 8 * a) * z - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _sampled(image: Tensor, grid: Tensor, mode: int, padding: int, aligned: bool) -> Tensor:
    """`grid_sample` in any number of dimensions by gathers and products of one-dimensional weights."""
    sizes = image.shape[2:]
    batch, channels = image.shape[:2]
    flat = image.reshape(batch, channels, -1)
    out_shape = grid.shape[1:-1]
    taps: list[list[tuple[Tensor, Tensor]]] = []  # for each axis: (pixel number, weight) of each neighbour
    for axis, size in enumerate(sizes):
        x = _pixels(grid[..., len(sizes) - 1 - axis], size, aligned)  # the grid names the last axis first
        if mode != BICUBIC:
            x = _bounded(x, size, padding, aligned)
        if mode == NEAREST:
            at = torch.round(x.detach())
            taps.append([(at, torch.ones_like(at))])
            continue
        base = torch.floor(x.detach())
        t = x - base
        if mode == BILINEAR:
            taps.append([(base, 1 - t), (base + 1, t)])
        else:
            taps.append(
                [(_bounded(base + k - 1, size, padding, aligned), weight) for k, weight in enumerate(_cubic(t))]
            )
    total: Tensor | None = None
    for corner in itertools.product(*taps):
        weight = corner[0][1]
        for _, w in corner[1:]:
            weight = weight * w
        inside = torch.ones_like(corner[0][0], dtype=torch.bool)
        index = torch.zeros_like(corner[0][0], dtype=torch.int64)
        for (at, _), size in zip(corner, sizes, strict=True):
            inside = inside & (at >= 0) & (at <= size - 1)
            index = index * size + at.clamp(0, size - 1).to(torch.int64)
        read = flat.gather(2, index.reshape(batch, 1, -1).expand(batch, channels, math.prod(out_shape)))
        term = read.reshape(batch, channels, *out_shape) * (weight * inside.to(weight.dtype)).unsqueeze(1)
        total = term if total is None else total + term
    assert total is not None
    return total


def _moving_grid(s: Site) -> Jet | None:
    """Linear in the image while the grid stands still; by formula once it moves."""
    if s.d(1) is not None or s.dd(1) is not None:
        return None

    return s.through(lambda t: s.op(t, s.x(1), *s.node.args[2:]))


for _op in (aten.grid_sampler_2d.default, aten.grid_sampler_3d.default):
    op(_op, Rule(Kind.NONLINEAR, _moving_grid, leading_axis, formula=_sampled), kinks=True)
