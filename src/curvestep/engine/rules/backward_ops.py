"""Kernels of first derivatives, where they are part of the forward: a loss made of `autograd.grad(create_graph=True)`.

Each is written out as the formula that it computes, in the cotangent g and in what the forward saved, and is then
differentiated like any other function. Formulas of torch serve where they pass the rows; those written here stay finite
where torch's divide by zero or overflow in a branch that is not taken, or are twice as quick. Where the forward saved
statistics (mean, rstd), the formula makes them again from the input, because they move with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import MEAN, NONE, Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.rules.axes import before, elementwise_axis, joined_axis
from curvestep.engine.rules.forms import formula, jointly_linear, recorded, torchs_formula
from curvestep.engine.rules.linear import product_jet
from curvestep.engine.rules.operators import aten, tensor_positions
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op


def _along(known: Annotation, dim: int, rank: int) -> bool:
    """Whether the samples lie along an axis."""
    return isinstance(known, SampleAxis) and known.dim == dim % max(rank, 1)


# -- activations -----------------------------------------------------------------------------------------------------


def _number(condition: Tensor, like: Tensor) -> Tensor:
    return condition.to(like.dtype)


def _softplus(g: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    linear = x * beta > threshold
    return torch.where(linear, g, g * torch.sigmoid(beta * x))


def _elu(g: Tensor, alpha: float, scale: float, rate: float, is_result: bool, saved: Tensor) -> Tensor:
    grown = rate * (saved + alpha * scale) if is_result else alpha * scale * rate * torch.exp(rate * saved.clamp(max=0))
    return torch.where(saved > 0, g * scale, g * grown)


def _glu(g: Tensor, x: Tensor, dim: int) -> Tensor:
    a, b = x.chunk(2, dim)
    gate = torch.sigmoid(b)
    return torch.cat([g * gate, g * a * gate * (1 - gate)], dim)


def _outside(g: Tensor, x: Tensor, bound: float) -> Tensor:
    return g * _number((x > bound) | (x < -bound), x)


for _op in (
    aten.tanh_backward.default, aten.sigmoid_backward.default, aten.threshold_backward.default,
    aten.leaky_relu_backward.default, aten.hardtanh_backward.default, aten.hardsigmoid_backward.default,
    aten.hardswish_backward.default, aten.gelu_backward.default, aten.rrelu_with_noise_backward.default,
    aten._prelu_kernel_backward.default,
):  # fmt: skip
    op(_op, torchs_formula(_op, elementwise_axis))
op(aten.softplus_backward.default, formula(_softplus, elementwise_axis))
op(aten.elu_backward.default, formula(_elu, elementwise_axis))
op(aten.log_sigmoid_backward.default, formula(lambda g, x, _: g * torch.sigmoid(-x), elementwise_axis))
op(
    aten.glu_backward.default,
    formula(
        _glu,
        lambda s: Marker.LOST if _along(known := joined_axis(0, 1)(s), s.arg(2), len(s.out_shape())) else known,
    ),
)
op(aten.softshrink_backward.default, formula(_outside, elementwise_axis))
op(aten.hardshrink_backward.default, formula(_outside, elementwise_axis))


# -- softmax ---------------------------------------------------------------------------------------------------------


def _softmax_axis(s: AxisSite) -> Annotation:
    known = elementwise_axis(s)
    return Marker.LOST if _along(known, s.arg(2), len(s.out_shape())) else known


for _op in (aten._softmax_backward_data.default, aten._log_softmax_backward_data.default):
    op(_op, torchs_formula(_op, _softmax_axis))


# -- losses ----------------------------------------------------------------------------------------------------------


def _smooth_l1(g: Tensor, x: Tensor, t: Tensor, reduction: int, beta: float) -> Tensor:
    e = x - t
    far = torch.sign(e.detach())
    near = e.detach().abs() < beta
    out = g * (far if beta == 0 else torch.where(near, e / beta, far))
    return out / max(x.numel(), 1) if reduction == MEAN else out


op(aten.smooth_l1_loss_backward.default, formula(_smooth_l1, elementwise_axis))
for _op in (
    aten.mse_loss_backward.default, aten.huber_loss_backward.default, aten.binary_cross_entropy_backward.default,
    aten.soft_margin_loss_backward.default,
):  # fmt: skip
    op(_op, torchs_formula(_op, elementwise_axis))


def _picked_axis(s: AxisSite) -> Annotation:
    """Samples in front of the classes, in every argument that has them; classes behind them count their weights."""
    s.unread(6)
    known = joined_axis(0, 1, 2)(s)
    single = s.arg(4) != NONE  # one number for all of them
    lost = isinstance(known, SampleAxis) and (known.dim != 0 or (single and isinstance(s.at(0), SampleAxis)))
    return Marker.LOST if lost else known


for _op in (aten.nll_loss_backward.default, aten.nll_loss2d_backward.default):
    op(_op, jointly_linear((0,), _picked_axis, keep=(1,)))


# -- convolution: three outputs, bilinear, bilinear and linear in (g, x, w) ------------------------------------------


def _convolution(s: Site) -> list[Jet]:
    rest = recorded(s)[0][3:]
    like_x, like_w = s.arg(1), s.arg(2)

    def run(g: Tensor, x: Tensor | None, w: Tensor | None, which: int) -> Tensor:
        mask = [which == i for i in range(3)]
        x = g.new_empty(1).expand(like_x.shape) if x is None else x
        w = g.new_empty(1).expand(like_w.shape) if w is None else w
        return aten.convolution_backward.default(g, x, w, *rest[:7], mask)[which]

    def biased(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.sum([0, *range(2, t.dim())])

    wanted: Sequence[bool] = rest[7]
    none: Jet = (None, None)
    return [
        product_jet(s, 0, 2, lambda g, w: run(g, None, w, 0)) if wanted[0] else none,
        product_jet(s, 0, 1, lambda g, x: run(g, x, None, 1)) if wanted[1] else none,
        (biased(s.d(0)), biased(s.dd(0))) if wanted[2] else none,
    ]


def _convolution_axis(s: AxisSite) -> list[Annotation]:
    known = s.at(0)
    s.unread(1, 2)  # the gradient of the input reads the shape of the input alone, that of the weight likewise
    inputs = known if known in (SampleAxis(0), Marker.SHARED) and s.at(2) is Marker.SHARED else Marker.LOST
    whole = Marker.SHARED if known is Marker.SHARED and s.at(1) is Marker.SHARED else Marker.POOLED
    return [inputs, whole, whole]


op(aten.convolution_backward.default, Rule(Kind.MULTILINEAR, _convolution, _convolution_axis, factors=(0, 1, 2)))


# -- normalisations --------------------------------------------------------------------------------------------------


def _pulled_back(gn: Tensor, n: Tensor, rstd: Tensor, dims: Sequence[int]) -> Tensor:
    """The cotangent of x, given that of n = (x − mean)·rstd."""
    return rstd * (gn - gn.mean(list(dims), keepdim=True) - n * (gn * n).mean(list(dims), keepdim=True))


def _recovered_eps(x: Tensor, mean: Tensor, rstd: Tensor, dims: Sequence[int]) -> Tensor:
    """rstd⁻² − var: the ε of the forward, which the backward is not told."""
    x = x.detach()
    return rstd.detach() ** -2 - (x - mean.detach()).square().mean(list(dims), keepdim=True)


def _again(x: Tensor, mean: Tensor, rstd: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor]:
    """n and rstd as functions of x."""
    u = x - x.mean(list(dims), keepdim=True)
    moving = (u.square().mean(list(dims), keepdim=True) + _recovered_eps(x, mean, rstd, dims)).rsqrt()
    return u * moving, moving


def _layer_norm(
    g: Tensor,
    x: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    mask: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    outer = list(range(x.dim() - len(shape)))
    n, moving = _again(x, mean, rstd, dims)
    gx = _pulled_back(g if w is None else g * w, n, moving, dims)
    return gx, (g * n).sum(outer) if outer else g * n, g.sum(outer) if outer else g


def _batch_norm(
    g: Tensor, x: Tensor, w: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    mean: Tensor | None, rstd: Tensor | None, train: bool, eps: float, mask: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dims, shape = [0, *range(2, x.dim())], [1, -1] + [1] * (x.dim() - 2)
    scaled = g if w is None else g * w.reshape(shape)
    if train:
        u = x - x.mean(dims, keepdim=True)
        moving = (u.square().mean(dims, keepdim=True) + eps).rsqrt()
        n = u * moving
        gx = _pulled_back(scaled, n, moving, dims)
    else:
        assert running_mean is not None and running_var is not None
        moving = (running_var + eps).rsqrt().reshape(shape)
        n = (x - running_mean.reshape(shape)) * moving
        gx = scaled * moving
    return gx, (g * n).sum(dims), g.sum(dims)


def _pooled(known: Annotation) -> Annotation:
    """The gradient of a weight: a sum over the samples."""
    return Marker.POOLED if isinstance(known, SampleAxis) else known


def _batch_axis(s: AxisSite) -> list[Annotation]:
    s.unread(*(3, 4) if s.arg(7) else (), 5, 6)  # the statistics are made again
    known = joined_axis(0, 1)(s) if s.shared(2) else Marker.LOST
    return [known, _pooled(known), _pooled(known)]


def _layer_axis(s: AxisSite) -> list[Annotation]:
    known = joined_axis(0, 1, 3, 4)(s) if s.shared(5, 6) else Marker.LOST
    if isinstance(known, SampleAxis) and known.dim >= len(s.shape(1)) - len(s.arg(2)):
        known = Marker.LOST
    return [known, _pooled(known), _pooled(known)]


op(aten.native_layer_norm_backward.default, formula(_layer_norm, _layer_axis))
op(aten.native_batch_norm_backward.default, formula(_batch_norm, _batch_axis, couples=lambda s: bool(s.arg(7))))


# -- linear in the cotangent -----------------------------------------------------------------------------------------


# some read the shape of the input
op(aten.native_dropout_backward.default, jointly_linear((0,), elementwise_axis, keep=(1,)))
for _name in (
    "avg_pool2d_backward", "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
    "replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward",
    "upsample_nearest1d_backward", "upsample_nearest2d_backward", "upsample_nearest3d_backward",
    "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_trilinear3d_backward",
    "upsample_bicubic2d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward",
    "_upsample_nearest_exact1d_backward", "_upsample_nearest_exact2d_backward", "_upsample_nearest_exact3d_backward",
):  # fmt: skip
    _op = getattr(aten, _name).default
    _tensors = tensor_positions(_op)
    _mixed = int(_name[_name.index("d_") - 1])  # as many of the last axes as the name says
    op(_op, jointly_linear((0,), before(_mixed, *_tensors), keep=_tensors[1:]))
op(aten.embedding_dense_backward.default, jointly_linear((0,), lambda s: _pooled(merge([s.at(0), s.at(1)]))))


def _cut_axis(s: AxisSite) -> Annotation:
    """`slice_backward` and `select_backward` put a cut back; samples along the cut axis are lost."""
    known, along = s.at(0), s.arg(2) % max(len(s.out_shape()), 1)
    if not isinstance(known, SampleAxis):
        return known
    if s.node.op is aten.select_backward.default:
        return known.at(known.dim + (along <= known.dim))
    return Marker.LOST if known.dim == along and s.shape(0)[along] != s.out_shape()[along] else known


op(aten.slice_backward.default, jointly_linear((0,), _cut_axis))
op(aten.select_backward.default, jointly_linear((0,), _cut_axis))
op(
    aten.diagonal_backward.default,
    jointly_linear((0,), lambda s: Marker.LOST if isinstance(s.at(0), SampleAxis) else s.at(0)),
)
