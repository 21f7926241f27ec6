"""Weights computed from other weights in one kernel, and normalisation by the root mean square."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker
from curvestep.engine.rules.forms import formula
from curvestep.engine.rules.norm import layer_axis
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul, twice


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """w = g v/‖v‖ with one norm for each index along `dim`; autograd leaves the norms without a gradient."""
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    norms = torch.linalg.vector_norm(v, 2, others, keepdim=True)
    return v * (g / norms), norms


def _weight_axis(s: AxisSite) -> list[Annotation]:
    known = [s.at(0), s.at(1)]
    return [Marker.SHARED if known == [Marker.SHARED] * 2 else Marker.LOST] * 2


op(aten._weight_norm_interface.default, formula(_weight_norm, _weight_axis))


# -- root mean square ------------------------------------------------------------------------------------------------


def _rms_norm(s: Site) -> list[Jet]:
    """n = x r with r = (mean x² + ε)^(−½): with a = ẋ r and b = ẍ r, ṙ/r = −mean(n a) and so on, as in layer norm."""
    x, rstd, dims = s.x(0), s.y(1), list(range(-len(s.arg(1)), 0))
    n = x * rstd
    a, b = mul(s.d(0), rstd), mul(s.dd(0), rstd)

    def mean(t: Tensor) -> Tensor:
        return t.mean(dims, keepdim=True)

    dn = second = None
    if a is not None:
        m = mean(n * a)
        dn = a - n * m
        second = n * (3 * m * m - mean(a * a)) - 2 * m * a
    if b is not None:
        second = add(second, b - n * mean(n * b))
    if s.arg(2) is None:
        return [(dn, second), (None, None)]
    w, dw, ddw = s.x(2), s.d(2), s.dd(2)
    return [(add(mul(w, dn), mul(dw, n)), add(mul(w, second), mul(ddw, n), twice(mul(dw, dn)))), (None, None)]


def _rms_again(s: Site, args: tuple[Any, ...], watched: bool) -> tuple[Tensor, Tensor]:
    x, shape, weight, eps = args
    dims = list(range(-len(shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    rstd = (x.square().mean(dims, keepdim=True) + eps).rsqrt()
    return (x * rstd if weight is None else x * rstd * weight), rstd


op(
    aten._fused_rms_norm.default,
    Rule(Kind.NONLINEAR, _rms_norm, layer_axis, keep_inputs=(0, 2), keep_outputs=(1,), rerun=_rms_again),
    dtype="statistics",
)
