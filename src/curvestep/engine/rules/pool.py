"""Pooling and resampling: linear once the winners are known."""

from __future__ import annotations

import math

from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules.axes import before
from curvestep.engine.rules.forms import linear_in_first
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import Jet, Site
from curvestep.engine.rules.table import op


def max_pool(spatial: int, *others: int) -> Rule:
    """Max pooling with recorded winners: a gather of the tangent at them; others have the leading axes of the first."""

    def jet(s: Site) -> list[Jet]:
        winners = s.y(1)

        def gather(t: Tensor) -> Tensor:
            lead = t.shape[: t.dim() - spatial]
            flat = t.reshape(*lead, math.prod(t.shape[t.dim() - spatial :]))
            return flat.gather(-1, winners.reshape(*lead, -1)).reshape(winners.shape)

        return [s.through(gather), (None, None)]

    return Rule(Kind.LINEAR, jet, before(spatial, 0, *others), keep_outputs=(1,))


op(aten.max_pool2d_with_indices.default, max_pool(2), dtype="arriving", kinks=True)
op(aten.max_pool3d_with_indices.default, max_pool(3), kinks=True)
op(aten.adaptive_max_pool2d.default, max_pool(2), kinks=True)
op(aten.adaptive_max_pool3d.default, max_pool(3), kinks=True)

op(aten.avg_pool2d.default, linear_in_first(before(2)), dtype="arriving")
op(aten._adaptive_avg_pool2d.default, linear_in_first(before(2)), dtype="arriving")
for _op, _mixed in (  # how many of the last axes each mixes
    (aten.avg_pool1d.default, 1),
    (aten.adaptive_avg_pool1d.default, 1),
    (aten.upsample_nearest1d.default, 1),
    (aten.upsample_linear1d.default, 1),
    (aten.upsample_nearest2d.default, 2),
    (aten.upsample_bilinear2d.default, 2),
    (aten.upsample_bicubic2d.default, 2),
    (aten.avg_pool3d.default, 3),
    (aten._adaptive_avg_pool3d.default, 3),
    (aten.upsample_nearest3d.default, 3),
    (aten.upsample_trilinear3d.default, 3),
    (aten.pixel_shuffle.default, 3),  # channels too
    (aten.pixel_unshuffle.default, 3),
):
    op(_op, linear_in_first(before(_mixed)))
