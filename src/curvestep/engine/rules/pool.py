"""Pooling and resampling: linear once the winners are known."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.rules.shape import linear_in_first
from curvestep.engine.rules.table import Jet, Kind, Rule, Site, register, same_axis

aten = torch.ops.aten


def max_pool(spatial: int, op: Any) -> None:
    """Max pooling with recorded winners: a gather of the tangent at them."""

    def jet(s: Site) -> list[Jet]:
        winners = s.y(1)

        def gather(t: Tensor | None) -> Tensor | None:
            if t is None:
                return None
            lead = t.shape[: t.dim() - spatial]
            flat = t.reshape(*lead, math.prod(t.shape[t.dim() - spatial :]))
            return flat.gather(-1, winners.reshape(*lead, -1)).reshape(winners.shape)

        return [(gather(s.d(0)), gather(s.dd(0))), (None, None)]

    register(op, Rule(Kind.LINEAR, jet, same_axis, keep_outputs=(1,)))


max_pool(2, aten.max_pool2d_with_indices.default)
max_pool(3, aten.max_pool3d_with_indices.default)
max_pool(2, aten.adaptive_max_pool2d.default)
max_pool(3, aten.adaptive_max_pool3d.default)

for _op in (
    aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default,
    aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default,
    aten.adaptive_avg_pool1d.default, aten.upsample_nearest1d.default, aten.upsample_nearest2d.default,
    aten.upsample_nearest3d.default,
    aten.upsample_linear1d.default, aten.upsample_bilinear2d.default, aten.upsample_trilinear3d.default,
    aten.upsample_bicubic2d.default, aten.pixel_shuffle.default, aten.pixel_unshuffle.default,
):  # fmt: skip
    linear_in_first(_op, same_axis)
