"""Convolutions of any dimension, stride, padding, dilation and grouping, transposed ones included."""

from __future__ import annotations

import math

from torch import Tensor

from curvestep.engine.data.rule import Kind, Product, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.data.value import Node
from curvestep.engine.rules.bilinear import Bilinear, bilinear_jet
from curvestep.engine.rules.linear import both_live, with_bias
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op


def _jet(s: Site) -> Jet:
    geometry = s.node.args[3:9]  # stride, padding, dilation, transposed, output_padding, groups

    def product(x: Tensor, w: Tensor) -> Tensor:
        return aten.convolution.default(x, w, None, *geometry)

    def shifted(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
        return aten.convolution.default(x, w, bias, *geometry)

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


def _multiply_adds(node: Node) -> int:
    """Every output takes (every input gives, if transposed) one multiply-add for each weight of its channel."""
    x, w, transposed, out = node.args[0], node.args[1], node.args[6], node.outputs[0]
    assert out is not None
    return math.prod(x.shape if transposed else out.shape) * math.prod(w.shape[1:])


op(
    aten.convolution.default,
    Rule(Kind.MULTILINEAR, _jet, _axis, factors=(0, 1), may_read=both_live(0, 1)),
    dtype="product",
    product=Product((0, 1), polarises=True, size=_multiply_adds),
)
