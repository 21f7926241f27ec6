"""Convolutions of any dimension, stride, padding, dilation and grouping, transposed ones included."""

from __future__ import annotations

import torch
from torch import Tensor

from curvestep.engine.rules.linear import product_jet, with_bias
from curvestep.engine.rules.table import AxisSite, Jet, Kind, Rule, Site, register
from curvestep.engine.samples import Annotation, Marker, SampleAxis

aten = torch.ops.aten


def _jet(s: Site) -> Jet:
    geometry = s.node.args[3:9]  # stride, padding, dilation, transposed, output_padding, groups

    def product(x: Tensor, w: Tensor) -> Tensor:
        return aten.convolution(x, w, None, *geometry)

    first, second = product_jet(s, 0, 1, product)

    def bias(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        value = s.node.outputs[0]
        assert value is not None
        return t.reshape(-1, *[1] * (len(value.shape) - 2)).expand(value.shape)

    return with_bias(first, bias(s.d(2))), with_bias(second, bias(s.dd(2)))


def _axis(s: AxisSite) -> Annotation:
    known = s.at(0)
    if s.at(1) is not Marker.SHARED:
        return Marker.LOST
    return known if not isinstance(known, SampleAxis) or known.dim == 0 else Marker.LOST


register(aten.convolution.default, Rule(Kind.MULTILINEAR, _jet, _axis, factors=(0, 1)))
