"""Normalisations: batch, layer and group norm are one formula over different axes.

With u = x − mean(x), v = mean(u²) + ε, r = v^(−½):
    v̇ = 2 mean(u u̇),            v̈ = 2 mean(u̇²) + 2 mean(u ü),
    ṙ = −½ r³ v̇,                r̈ = ¾ r⁵ v̇² − ½ r³ v̈,
and y = w·(u r) + b by the product rule. (The table A.2 of the source drops dots and squares; this is re-derived.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Cut, Kind, NotCut, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import accumulate, add, mul


def normalised(
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dx: Tensor | None,
    ddx: Tensor | None,
    dims: Sequence[int],
    first_only: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """n = (x − mean)·rstd and its two tangents, the statistics moving along with x."""
    n = (x - mean).mul_(rstd)
    if dx is None and ddx is None:
        return n, None, None
    dims = list(dims)

    def scaled(t: Tensor | None) -> Tensor | None:
        return None if t is None else (t - t.mean(dims, keepdim=True)).mul_(rstd)

    # In units of r: a = r u̇ and b = r ü, so ṅ = a − n·mean(n a), since ṙ/r = −mean(n a).
    a, b = scaled(dx), scaled(ddx)
    dn: Tensor | None = None
    second: Tensor | None = None
    if a is not None:
        na = (n * a).mean(dims, keepdim=True)
        dn = torch.addcmul(a, n, na, value=-1.0)
        # r̈/r = 3 mean(n a)² − mean(a²) − mean(n b)
        if not first_only:
            second = (n * (3 * na * na - (a * a).mean(dims, keepdim=True))).addcmul_(a, na, value=-2.0)
    if b is not None:
        second = add(second, torch.addcmul(b, n, (n * b).mean(dims, keepdim=True), value=-1.0))
    return n, dn, second


def by_kernel(
    n: Tensor,
    through: Callable[[Tensor], Tensor],
    share: Tensor,
    rest: Tensor,
    mean_square: Callable[[Tensor], Tensor],
    dn: Tensor,
    ddx: Tensor | None,
    first_only: bool,
) -> tuple[Tensor, Tensor | None]:
    """The two tangents of n where torch's backward kernel of the normalisation is at hand.

    Its matrix is symmetric, so the kernel that pulls a gradient back also pushes a tangent forward. With m = mean(n a)
    and e = 1 − mean(n²) = ε r², the second tangent of `normalised` in terms of ṅ = a − n m is

        n̈ = −n (mean(ṅ²) + e m²) − 2 m ṅ + ∂n[ẍ].

    Args:
        n: normalised x.
        through: the kernel.
        share: m.
        rest: e.
        mean_square: the mean of the square of a tensor, broadcast to it.
        dn: ṅ, what the kernel makes of ẋ.
        ddx: ẍ or None.
        first_only: whether n̈ is not needed.

    Returns:
        ṅ and n̈.
    """
    second: Tensor | None = None
    if not first_only:
        second = (n * (mean_square(dn) + rest * share * share).neg_()).addcmul_(dn, share, value=-2.0)
    if ddx is not None:
        bent = through(ddx)
        second = bent if second is None else second.add_(bent)
    return dn, second


def _has_kernel(s: Site, x: Tensor, rstd: Tensor, dx: Tensor | None) -> bool:
    """Whether torch's backward kernels may be used: not watched by autograd, and no mixture of dtypes."""
    plain = x.dtype in (torch.float32, torch.float64) and rstd.dtype == x.dtype
    return plain and dx is not None and dx.dtype == x.dtype and not s.watched


def _by_formula(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised x, mean and rstd as plain operations: autograd takes the fused ones' statistics for constants."""
    mean = x.mean(dims, keepdim=True)
    rstd = ((x - mean).square().mean(dims, keepdim=True) + eps).rsqrt()
    return (x - mean) * rstd, mean, rstd


def _affine(
    n: Tensor, dn: Tensor | None, ddn: Tensor | None, s: Site, weight: int, bias: int, shape: Sequence[int]
) -> Jet:
    """y = w n + b with w and b reshaped to broadcast against n."""

    def shaped(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.reshape(shape)

    if s.arg(weight) is None:
        return dn, ddn
    w, dw, ddw = shaped(s.x(weight)), shaped(s.d(weight)), shaped(s.dd(weight))
    cross = None if s.first_only or dw is None else dw * 2.0
    first = _plus(_plus_product(mul(w, dn), dw, n), shaped(s.d(bias)))
    second = _plus(_plus_product(_plus_product(mul(w, ddn), ddw, n), cross, dn), shaped(s.dd(bias)))
    return first, second


def _plus_product(total: Tensor | None, left: Tensor | None, right: Tensor | None) -> Tensor | None:
    """Total + left · right, written into the total, whose memory must be the caller's own; None is zero."""
    if left is None or right is None:
        return total
    return left * right if total is None else total.addcmul_(left, right)


def _plus(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    """Total + term, written into the total, whose memory must be the caller's own; None is zero."""
    return term if total is None else accumulate(total, term)


# -- layer norm ---------------------------------------------------------------------------------------------------


def _layer_norm(s: Site) -> list[Jet]:
    x, shape = s.x(0), s.arg(1)
    dims = list(range(x.dim() - len(shape), x.dim()))
    mean, rstd, dx = s.y(1), s.y(2), s.d(0)
    if dx is not None and _has_kernel(s, x, rstd, dx):
        n = (x - mean).mul_(rstd)  # six times as quick as the kernel without a weight

        def through(t: Tensor) -> Tensor:
            return aten.native_layer_norm_backward.default(t, x, shape, mean, rstd, None, None, [True, False, False])[0]

        def dot(a: Tensor, b: Tensor) -> Tensor:
            flat = a.shape[: -len(shape)]
            return torch.linalg.vecdot(a.reshape(*flat, -1), b.reshape(*flat, -1)).div_(math.prod(shape)).view_as(rstd)

        share = dot(n, dx).mul_(rstd)
        dn, ddn = by_kernel(
            n, through, share, s.arg(4) * rstd * rstd, lambda t: dot(t, t), through(dx), s.dd(0), s.first_only
        )
    else:
        n, dn, ddn = normalised(x, mean, rstd, dx, s.dd(0), dims, s.first_only)
    return [_affine(n, dn, ddn, s, 2, 3, shape), (None, None), (None, None)]


def layer_axis(s: AxisSite) -> list[Annotation]:
    """Samples among the axes before those that argument 1 normalises keep their place."""
    known = s.at(0)
    if isinstance(known, SampleAxis) and known.dim >= len(s.shape(0)) - len(s.arg(1)):
        known = Marker.LOST
    return [known] * len(s.node.outputs)


def _layer_again(s: Site, args: tuple[Any, ...], watched: bool) -> Any:
    if not watched:
        return aten.native_layer_norm.default(*args)
    x, shape, weight, bias, eps = args
    n, mean, rstd = _by_formula(x, list(range(x.dim() - len(shape), x.dim())), eps)
    return (n if weight is None else n * weight) if bias is None else n * weight + bias, mean, rstd


op(
    aten.native_layer_norm.default,
    Rule(Kind.NONLINEAR, _layer_norm, layer_axis, keep_inputs=(0, 2), keep_outputs=(1, 2), rerun=_layer_again),
    dtype="statistics",
)


def _moments(n: Tensor, rstd: Tensor, dx: Tensor | None, ddx: Tensor | None, dims: list[int]) -> list[Jet]:
    """Jets of the mean and of rstd, which a gradient taken inside the forward goes through."""

    def mean(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.mean(dims)

    a, b = mul(dx, rstd), mul(ddx, rstd)
    if a is not None:
        a = a - a.mean(dims, keepdim=True)
    r = rstd.squeeze(dims)
    rate = mean(mul(n, a))
    bend = None if a is None or rate is None else r * (3 * rate * rate - (a * a).mean(dims))
    second = add(bend, None if b is None else -r * (n * b).mean(dims))
    return [(mean(dx), mean(ddx)), (None if rate is None else -r * rate, second)]


# -- group norm (instance norm arrives as batch norm of a reshaped input) ------------------------------------------


def _group_norm(s: Site) -> list[Jet]:
    x = s.x(0)
    batch, channels, groups = s.arg(3), s.arg(4), s.arg(6)
    folded = (batch, groups, -1)

    def fold(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.reshape(folded)

    n, dn, ddn = normalised(
        x.reshape(folded), s.y(1).unsqueeze(-1), s.y(2).unsqueeze(-1), fold(s.d(0)), fold(s.dd(0)), [2],
        s.first_only,
    )  # fmt: skip

    def unfold(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.reshape(x.shape)

    spread = (1, channels) + (1,) * (x.dim() - 2)
    moments = _moments(n, s.y(2).unsqueeze(-1), fold(s.d(0)), fold(s.dd(0)), [2])
    return [_affine(n.reshape(x.shape), unfold(dn), unfold(ddn), s, 1, 2, spread), *moments]


def _group_axis(s: AxisSite) -> list[Annotation]:
    known = s.at(0)
    return [known if not isinstance(known, SampleAxis) or known.dim == 0 else Marker.LOST] * 3


def _group_sizes(args: list[Any], out: tuple[int, ...], narrowed: Any) -> list[Any]:
    return [*args[:3], args[0].shape[0], *args[4:]]


def _group_again(s: Site, args: tuple[Any, ...], watched: bool) -> Any:
    if not watched:
        return aten.native_group_norm.default(*args)
    x, weight, bias, batch, channels, _, groups, eps = args
    n, mean, rstd = _by_formula(x.reshape(batch, groups, -1), [2], eps)
    n = n.reshape(x.shape)
    spread = (1, channels) + (1,) * (x.dim() - 2)
    if weight is not None:
        n = n * weight.reshape(spread)
    return (n if bias is None else n + bias.reshape(spread)), mean.squeeze(-1), rstd.squeeze(-1)


op(
    aten.native_group_norm.default,
    Rule(Kind.NONLINEAR, _group_norm, _group_axis, keep_inputs=(0, 1), keep_outputs=(1, 2), rerun=_group_again),
    dtype="statistics",
    cut=Cut(sizes=_group_sizes),
)


# -- batch norm -----------------------------------------------------------------------------------------------------


def _batch_norm(s: Site) -> list[Jet]:
    x, training = s.x(0), s.arg(5)
    shape = (1, -1) + (1,) * (x.dim() - 2)
    if training:
        dims = [0, *range(2, x.dim())]
        mean, rstd, dx = s.y(1), s.y(2), s.d(0)
        if dx is not None and _has_kernel(s, x, rstd, dx):
            n, dn, ddn = _batch_by_kernel(s, x, mean, rstd, dx, dims)
        else:
            n, dn, ddn = normalised(x, mean.reshape(shape), rstd.reshape(shape), dx, s.dd(0), dims, s.first_only)
    else:
        mean, rstd = s.x(3).reshape(shape), (s.x(4) + s.arg(7)).rsqrt().reshape(shape)
        n, dn, ddn = (x - mean) * rstd, mul(s.d(0), rstd), mul(s.dd(0), rstd)
    return [_affine(n, dn, ddn, s, 1, 2, shape), (None, None), (None, None)]


def _batch_by_kernel(
    s: Site, x: Tensor, mean: Tensor, rstd: Tensor, dx: Tensor, dims: list[int]
) -> tuple[Tensor, Tensor, Tensor | None]:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    eps, count = s.arg(7), x.numel() // x.shape[1]

    def kernel(t: Tensor, *, sums: bool) -> tuple[Tensor, Tensor | None]:
        mask = [True, sums, False]
        # On a CPU the kernel is wrong where only one of the two looks channels-last, by an axis of size 1.
        if t.stride() != x.stride():
            t = torch.empty_like(x).copy_(t)
        found = aten.native_batch_norm_backward.default(t, x, None, None, None, mean, rstd, True, eps, mask)
        return found[0], found[1]

    # the gradient of a weight would be Σ n t
    dn, products = kernel(dx, sums=True)
    assert products is not None
    share = (products * rstd / count).reshape(shape)
    n = (x - mean.reshape(shape)).mul_(rstd.reshape(shape))
    dn, ddn = by_kernel(
        n, lambda t: kernel(t, sums=False)[0], share, (eps * rstd * rstd).reshape(shape),
        lambda t: torch.linalg.vector_norm(t, dim=dims, keepdim=True).square_().div_(count),
        dn, s.dd(0), s.first_only,
    )  # fmt: skip
    return n, dn, ddn


def _batch_axis(s: AxisSite) -> list[Annotation]:
    known = s.at(0)
    if s.arg(5):
        s.unread(3, 4)  # running statistics are read in evaluation mode alone
    # Instance norm folds samples into channels: index 1 then is sample·channel, and statistics stay within a sample.
    of_channels = [s.at(1), s.at(2)]
    if any(isinstance(k, SampleAxis) for k in of_channels):
        scale = merge(of_channels)
        known = merge([known, scale.at(1) if isinstance(scale, SampleAxis) else scale])
    return [known, Marker.LOST, Marker.LOST] if isinstance(known, SampleAxis) else [known] * 3


def _batch_couples(s: AxisSite) -> bool:
    known = _batch_axis(s)[0]
    return bool(s.arg(5)) and not (isinstance(known, SampleAxis) and known.dim == 1)


def _batch_again(s: Site, args: tuple[Any, ...], watched: bool) -> Any:
    """Batch norm without touching the running statistics, which moved once when the batch was recorded."""
    x, weight, bias, _, _, training, momentum, eps = args
    if not training:
        return aten.native_batch_norm.default(*args)
    if not watched:
        return aten.native_batch_norm.default(x, weight, bias, None, None, training, momentum, eps)
    n, mean, rstd = _by_formula(x, [0, *range(2, x.dim())], eps)
    spread = (1, -1) + (1,) * (x.dim() - 2)
    if weight is not None:
        n = n * weight.reshape(spread)
    return (n if bias is None else n + bias.reshape(spread)), mean.flatten(), rstd.flatten()


def _per_channel(node: Node, out: SampleAxis, result: Value) -> Any:
    """Weights lie along the channels, into which instance norm folds the samples."""
    scale = out.at(0) if out.dim == 1 else None
    return lambda v: scale if len(v.shape) == 1 else out


def _channel_statistics(node: Node, first: Annotation) -> SampleAxis | None:
    """The axis of the statistics that are kept where samples were folded into channels."""
    if not node.args[5]:
        return None  # in evaluation mode they are not read
    if isinstance(first, SampleAxis) and first.dim == 1:
        return first.at(0)
    raise NotCut(f"the samples are lost in what {node.name} keeps")


# cuDNN, MIOpen and exported graphs have names of their own for it, with the arguments in the same places.
for _name in ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit"):
    op(
        getattr(aten, _name).default,
        Rule(
            Kind.NONLINEAR,
            _batch_norm,
            _batch_axis,
            keep_inputs=(0, 1, 3, 4),
            keep_outputs=(1, 2),
            couples=_batch_couples,
            rerun=_batch_again,
        ),
        dtype="statistics",
        cut=Cut(aligned=_per_channel, statistics=_channel_statistics),
    )
