"""Rows called by hand for kernels of other devices, and for those that are linear in a cotangent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.direct import Direct
from tests.engine.ops.row import Draw, apart, fixed, integers, normal

aten = torch.ops.aten


def rms(x: Tensor, shape: list[int], w: Tensor | None, eps: float) -> Tensor:
    n = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return n if w is None else n * w


def rms_saved(x: Tensor, shape: list[int], w: Tensor | None, eps: float) -> list[Tensor]:
    return [(x.square().mean(-1, keepdim=True) + eps).rsqrt()]


def batch_norm(
    x: Tensor, w: Tensor, b: Tensor, mean: Any, var: Any, train: bool, momentum: float, eps: float
) -> Tensor:
    u = x - x.mean(0)
    return u / (u.square().mean(0) + eps).sqrt() * w + b


def batch_saved(x: Tensor, w: Tensor, b: Tensor, mean: Any, var: Any, train: bool, momentum: float, eps: float) -> Any:
    return [x.mean(0), ((x - x.mean(0)).square().mean(0) + eps).rsqrt()]


def lstm(gates: Tensor, state: Tensor, cell: Tensor, bias: Tensor, state_bias: Tensor) -> Tensor:
    i, f, g, o = (gates + state + bias + state_bias).chunk(4, 1)
    return torch.sigmoid(o) * torch.tanh(torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g))


def gru(gates: Tensor, state: Tensor, hidden: Tensor, bias: Tensor, state_bias: Tensor) -> Tensor:
    """As nn.GRU's docstring has it: h = (1 − z) n + z h."""
    xr, xz, xn = (gates + bias).chunk(3, 1)
    hr, hz, hn = (state + state_bias).chunk(3, 1)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    n = torch.tanh(xn + r * hn)
    return (1 - z) * n + z * hidden


def lstm_layer(
    x: Tensor, wx: Tensor, wh: Tensor, b: Tensor, c: Tensor, h0: Tensor, c0: Tensor, back: bool, *_: Any
) -> Tensor:
    """As nn.LSTM's docstring has it; the hidden states of all steps."""
    hidden, cell, shown = h0, c0, []
    for step in x.flip(0) if back else x:
        i, f, g, o = (step @ wx.t() + b + hidden @ wh.t() + c).chunk(4, 1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        shown.append(hidden)
    out = torch.stack(shown)
    return out.flip(0) if back else out


def hard_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp(x / 6 + 0.5, 0, 1)


def sixth(g: Tensor, x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, g / 6, 0.0) + 0 * x


def linear(name: str, g: Draw, *rest: Any, **options: Any) -> Direct:
    """A kernel that is linear in its first argument: autograd's derivative of it along that argument is the truth."""
    op = getattr(aten, name).default
    return Direct(op, lambda *args: op(*args, **options), [g, *rest], options=options)


def held(*shape: int) -> Draw:
    return fixed(normal(*shape))


INDEX_2D = F.max_pool2d(torch.randn(2, 3, 4, 4), 2, return_indices=True)[1]
INDEX_3D = F.max_pool3d(torch.randn(2, 3, 4, 4, 4), 2, return_indices=True)[1]
LAYER = [normal(3, 2, 3), held(8, 3), normal(8, 2), held(8), held(8), held(2, 2), normal(2, 2)]  # three move: 4³ cases
NORM = [normal(5, 3), normal(3), normal(3), None, None, True, 0.1, 1e-3]
SMALL_2D, SMALL_3D = normal(2, 3, 2, 2), normal(2, 3, 2, 2, 2)
IMAGE, VOLUME = held(2, 3, 4, 4), held(2, 3, 4, 4, 4)

BY_HAND = [
    Direct(aten.hardsigmoid.default, hard_sigmoid, [apart(5, 4)]),
    Direct(aten.hardsigmoid_backward.default, sixth, [normal(5, 4), apart(5, 4)]),
    Direct(aten._fused_rms_norm.default, rms, [normal(2, 5), [5], normal(5), 1e-3], "weight", saved=rms_saved),
    Direct(aten._fused_rms_norm.default, rms, [normal(2, 5), [5], None, 1e-3], "plain", saved=rms_saved),
    *[
        Direct(getattr(aten, name).default, batch_norm, NORM, saved=batch_saved)
        for name in ("cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit")
    ],
    Direct(aten._thnn_fused_lstm_cell.default, lstm, [normal(2, 8), held(2, 8), normal(2, 2), held(8), normal(8)]),
    Direct(aten._thnn_fused_gru_cell.default, gru, [held(2, 6), normal(2, 6), normal(2, 2), normal(6), held(6)]),
    *[
        Direct(aten.mkldnn_rnn_layer.default, lstm_layer, [*LAYER, back, [], 2, 2, 1, True, False, False, True], desc)
        for back, desc in ((False, "forward"), (True, "backward"))
    ],
    Direct(aten.conj_physical.default, lambda x: x * 1.0, [normal(3, 4)]),
    Direct(aten.resolve_conj.default, lambda x: x * 1.0, [normal(3, 4)]),
    Direct(aten.resolve_neg.default, lambda x: x * 1.0, [normal(3, 4)]),
    Direct(aten.real.default, lambda x: x * 1.0, [normal(3, 4)]),
    linear("native_dropout_backward", normal(3, 4), torch.tensor([True, False, True, True]), 1.5),
    linear("embedding_dense_backward", normal(5, 3), integers(4)(5), 4, -1, False),
    linear("diagonal_backward", normal(3), [3, 4], 0, 0, 1),
    linear(
        "nll_loss2d_backward", normal(2, 2, 2), held(2, 3, 2, 2), integers(3)(2, 2, 2), None, 0, -100, torch.ones(())
    ),
    linear("avg_pool3d_backward", SMALL_3D, VOLUME, [2, 2, 2], [2, 2, 2], [0, 0, 0], False, True, None),
    linear("_adaptive_avg_pool2d_backward", SMALL_2D, IMAGE),
    linear("_adaptive_avg_pool3d_backward", SMALL_3D, VOLUME),
    linear("max_pool3d_with_indices_backward", SMALL_3D, VOLUME, [2] * 3, [2] * 3, [0] * 3, [1] * 3, False, INDEX_3D),
    linear("adaptive_max_pool2d_backward", SMALL_2D, IMAGE, INDEX_2D),
    linear("adaptive_max_pool3d_backward", SMALL_3D, VOLUME, INDEX_3D),
    linear("fractional_max_pool2d_backward", SMALL_2D, IMAGE, [2, 2], [2, 2], INDEX_2D),
    linear("fractional_max_pool3d_backward", SMALL_3D, VOLUME, [2] * 3, [2] * 3, INDEX_3D),
    linear("reflection_pad1d_backward", normal(2, 3, 6), held(2, 3, 4), [1, 1]),
    linear("reflection_pad2d_backward", normal(2, 3, 6, 6), IMAGE, [1] * 4),
    linear("reflection_pad3d_backward", normal(2, 3, 6, 6, 6), VOLUME, [1] * 6),
    linear("replication_pad1d_backward", normal(2, 3, 6), held(2, 3, 4), [1, 1]),
    linear("replication_pad2d_backward", normal(2, 3, 6, 6), IMAGE, [1] * 4),
    linear("replication_pad3d_backward", normal(2, 3, 6, 6, 6), VOLUME, [1] * 6),
    linear("upsample_nearest1d_backward", normal(2, 3, 8), [8], [2, 3, 4]),
    linear("upsample_nearest2d_backward", normal(2, 3, 6, 5), [6, 5], [2, 3, 4, 3]),
    linear("upsample_nearest3d_backward", normal(2, 3, 4, 4, 4), [4] * 3, [2, 3, 2, 2, 2]),
    linear("_upsample_nearest_exact1d_backward", normal(2, 3, 8), [8], [2, 3, 4]),
    linear("_upsample_nearest_exact2d_backward", normal(2, 3, 6, 5), [6, 5], [2, 3, 4, 3]),
    linear("_upsample_nearest_exact3d_backward", normal(2, 3, 4, 4, 4), [4] * 3, [2, 3, 2, 2, 2]),
    linear("upsample_linear1d_backward", normal(2, 3, 8), [8], [2, 3, 4], False),
    linear("upsample_bilinear2d_backward", normal(2, 3, 6, 5), [6, 5], [2, 3, 4, 3], False),
    linear("upsample_trilinear3d_backward", normal(2, 3, 4, 4, 4), [4] * 3, [2, 3, 2, 2, 2], False),
    linear("upsample_bicubic2d_backward", normal(2, 3, 6, 5), [6, 5], [2, 3, 4, 3], False),
    linear("_upsample_bilinear2d_aa_backward", normal(2, 3, 3, 3), [3, 3], [2, 3, 5, 4], False),
    linear("_upsample_bicubic2d_aa_backward", normal(2, 3, 3, 3), [3, 3], [2, 3, 5, 4], False),
]
