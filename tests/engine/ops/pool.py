"""Rows of curvestep.engine.rules.pool."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

from tests.engine.ops.row import Row, apart, normal


def resize(mode: str, **options: Any) -> Any:
    return lambda x: F.interpolate(x * x, mode=mode, **options)


def pooled(run: Any, **options: Any) -> Any:
    return lambda x: run(x * x, **options)


ROWS = [
    Row("aten.max_pool2d_with_indices.default", lambda x: F.max_pool2d(x, 2), [apart(3, 2, 4, 4)], smooth=False),
    Row(
        "aten.max_pool2d_with_indices.default",
        lambda x: F.max_pool2d(x, 3, 2, 1, 1, True),
        [apart(3, 2, 5, 6)],
        "padding, ceil",
        smooth=False,
    ),
    Row(
        "aten.max_pool2d_with_indices.default",
        lambda x: F.max_pool2d(x, 2, 1, 0, 2),
        [apart(3, 2, 5, 5)],
        "dilation",
        smooth=False,
    ),
    Row("aten.max_pool2d_with_indices.default", lambda x: F.max_pool1d(x, 2), [apart(3, 2, 6)], "1d", smooth=False),
    Row(
        "aten.max_pool3d_with_indices.default",
        lambda x: F.max_pool3d(x, 2, padding=1),
        [apart(3, 2, 3, 4, 2)],
        smooth=False,
    ),
    Row(
        "aten.adaptive_max_pool2d.default",
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        [apart(3, 2, 5, 4)],
        smooth=False,
    ),
    Row(
        "aten.adaptive_max_pool2d.default", lambda x: F.adaptive_max_pool1d(x, 2), [apart(3, 2, 5)], "1d", smooth=False
    ),
    Row(
        "aten.adaptive_max_pool3d.default", lambda x: F.adaptive_max_pool3d(x, 2), [apart(3, 2, 3, 4, 3)], smooth=False
    ),
    Row("aten.avg_pool2d.default", pooled(F.avg_pool1d, kernel_size=2), [normal(3, 2, 6)], "1d"),
    Row(
        "aten.avg_pool2d.default",
        pooled(F.avg_pool2d, kernel_size=3, stride=2, padding=1, ceil_mode=True),
        [normal(3, 2, 5, 6)],
        "padding, ceil",
    ),
    Row(
        "aten.avg_pool2d.default",
        pooled(F.avg_pool2d, kernel_size=2, padding=1, count_include_pad=False),
        [normal(3, 2, 4, 4)],
        "pad not counted",
    ),
    Row("aten.avg_pool3d.default", pooled(F.avg_pool3d, kernel_size=2), [normal(3, 2, 4, 4, 2)]),
    Row("aten._adaptive_avg_pool2d.default", pooled(F.adaptive_avg_pool2d, output_size=(2, 3)), [normal(3, 2, 5, 4)]),
    Row("aten._adaptive_avg_pool2d.default", pooled(F.adaptive_avg_pool1d, output_size=2), [normal(3, 2, 5)], "1d"),
    Row("aten.mean.dim", pooled(F.adaptive_avg_pool2d, output_size=1), [normal(3, 2, 4, 4)], "global average pool"),
    Row("aten._adaptive_avg_pool3d.default", pooled(F.adaptive_avg_pool3d, output_size=2), [normal(3, 2, 3, 4, 3)]),
    Row("aten.upsample_nearest1d.default", resize("nearest", scale_factor=2), [normal(3, 2, 4)]),
    Row("aten.upsample_nearest2d.default", resize("nearest", size=(5, 7)), [normal(3, 2, 3, 4)]),
    Row("aten.upsample_nearest3d.default", resize("nearest", scale_factor=2), [normal(3, 2, 2, 2, 2)]),
    Row("aten.upsample_linear1d.default", resize("linear", scale_factor=2), [normal(3, 2, 4)]),
    Row("aten.upsample_linear1d.default", resize("linear", size=7, align_corners=True), [normal(3, 2, 4)], "aligned"),
    Row("aten.upsample_bilinear2d.default", resize("bilinear", scale_factor=1.5), [normal(3, 2, 4, 4)]),
    Row(
        "aten.upsample_bilinear2d.default",
        resize("bilinear", size=(5, 6), align_corners=True),
        [normal(3, 2, 3, 4)],
        "aligned",
    ),
    Row("aten.upsample_trilinear3d.default", resize("trilinear", scale_factor=2), [normal(3, 2, 2, 2, 2)]),
    Row("aten.upsample_bicubic2d.default", resize("bicubic", scale_factor=2), [normal(3, 2, 4, 4)]),
    Row("aten.pixel_shuffle.default", pooled(F.pixel_shuffle, upscale_factor=2), [normal(3, 8, 2, 4)]),
    Row("aten.pixel_unshuffle.default", pooled(F.pixel_unshuffle, downscale_factor=2), [normal(3, 2, 4, 6)]),
]
