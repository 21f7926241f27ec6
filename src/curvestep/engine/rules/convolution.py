"""Convolutions of any dimension, stride, padding, dilation and grouping, transposed ones included."""

from __future__ import annotations

import torch
from torch import Tensor

from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.rules.bilinear import Bilinear, bilinear_jet
from curvestep.engine.rules.linear import both_live, with_bias
from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, register

aten = torch.ops.aten


def _jet(s: Site) -> Jet:
    geometry = s.node.args[3:9]  # stride, padding, dilation, transposed, output_padding, groups

    def product(x: Tensor, w: Tensor) -> Tensor:
        return aten.convolution(x, w, None, *geometry)

    def shifted(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
        return aten.convolution(x, w, bias, *geometry)

    first, second = bilinear_jet(s, 0, 1, Bilinear(product, shifted=shifted), bias=2, output=0)
    if first is not None and first.dim() == 1:  # the bias alone moves
        first = _channels(s, first)
    return first, with_bias(second, _channels(s, s.dd(2)))


def _channels(s: Site, bias: Tensor | None) -> Tensor | None:
    """A tangent of the bias at every place of the output."""
    value = s.node.outputs[0]
    assert value is not None
    return None if bias is None else bias.reshape(-1, *[1] * (len(value.shape) - 2)).expand(value.shape)


def _axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if s.at(1) is not Marker.SHARED:
        return Marker.LOST
    return known if not isinstance(known, SampleAxis) or known.dim == 0 else Marker.LOST


register(aten.convolution.default, Rule(Kind.MULTILINEAR, _jet, _axis, factors=(0, 1), may_read=both_live(0, 1)))
