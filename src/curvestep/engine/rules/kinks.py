"""Operations with kinks: their first derivative jumps somewhere, so the curvature is that of the smooth pieces alone.

One list, read by whoever reports on a model; the rules themselves hold almost everywhere and need none of it.
"""

from __future__ import annotations

from typing import Any

import torch

from curvestep.engine.rules.table import functional_twin

aten = torch.ops.aten

_NAMES = """
    relu leaky_relu hardtanh threshold hardswish hardsigmoid softshrink hardshrink rrelu_with_noise _prelu_kernel relu6
    clamp clamp_min clamp_max abs maximum minimum fmax fmin copysign fmod remainder nan_to_num
    round floor ceil trunc frac sign sgn floor_divide heaviside
    max min amax amin aminmax median nanmedian mode kthvalue sort topk cummax cummin
    max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d
    fractional_max_pool3d max_pool1d max_pool2d max_pool3d
    multi_margin_loss multilabel_margin_loss_forward scatter_reduce index_reduce segment_reduce
    grid_sampler_2d grid_sampler_3d cudnn_grid_sampler
"""
_KINKED: set[Any] = {
    getattr(packet, overload)
    for packet in (getattr(aten, name, None) for name in _NAMES.split())
    if packet is not None
    for overload in packet.overloads()
}


def declare_kinks(op: Any) -> None:
    """Say that the first derivative of an operation jumps; for rules of third parties."""
    _KINKED.add(op)


def has_kinks(op: Any) -> bool:
    """Whether the first derivative of an operation jumps; an in-place one is as its functional twin."""
    return op in _KINKED or (hasattr(op, "_schema") and functional_twin(op) in _KINKED)
