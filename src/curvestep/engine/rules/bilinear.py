"""Products of two factors: ẏ = ȧ b + a ḃ and ÿ = ä b + 2 ȧ ḃ + a b̈, in three products or in two.

Naive: each term is a product of its own. Polarised: with y = a b known, c = ȧ ḃ, and any α > 0,

    z = (a/α + ȧ)(b + α ḃ) = y/α + ẏ + α c,        so that        ẏ = z − y/α − α c,

which needs two products, z and c. It is algebra, not a difference quotient: with α = ‖a‖/‖ȧ‖ (or ‖b‖/‖ḃ‖) the terms to
be taken away are no larger than those that are wanted, ‖y‖/α ≤ ‖ȧ‖‖b‖ and α‖c‖ ≤ ‖a‖‖ḃ‖, so that the relative rounding
of ẏ stays that of the dtype however long the direction is. Both signs of α make the polarisation identity
ab = ¼ ((a+b)² − (a−b)²); here one is enough, because c is formed itself and loses no digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from curvestep.engine.data.recording import Products
from curvestep.engine.rules.site import Site

Tangents = tuple["Tensor | None", "Tensor | None"]


@final
class Bilinear:
    """A product of two tensors, as the calls that are needed of it.

    Args:
        product: a b as a new tensor.
        shifted: a b + bias as a new tensor, in one call; None where there is no bias.
        onto: adds a b to a tensor, in place and in one call; None where that is a call of its own.
    """

    __slots__ = ("onto", "product", "shifted")

    def __init__(
        self,
        product: Callable[[Tensor, Tensor], Tensor],
        *,
        shifted: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
        onto: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.product = product
        self.shifted = shifted
        self.onto = onto

    def add(self, total: Tensor | None, a: Tensor | None, b: Tensor | None) -> Tensor | None:
        """Total + a b, written into the total, whose memory must be the caller's own; zero terms are None."""
        if a is None or b is None:
            return total
        if total is None:
            return self.product(a, b)
        if self.onto is not None and total.dtype == a.dtype == b.dtype:
            return self.onto(total, a, b)
        return total.add_(self.product(a, b))

    def begin(self, bias: Tensor | None, a: Tensor | None, b: Tensor | None) -> Tensor | None:
        """Bias + a b as a new tensor; None where the product is zero, whatever the bias."""
        if a is None or b is None:
            return None
        if bias is None:
            return self.product(a, b)
        if self.shifted is not None and bias.dtype == a.dtype == b.dtype:
            return self.shifted(a, b, bias)
        return self.product(a, b).add_(bias)


def bilinear_jet(
    site: Site, left: int, right: int, form: Bilinear, bias: int | None = None, output: int | None = None
) -> Tangents:
    """Jets of a product of two arguments, the first tangent of a bias included; its second one is the caller's.

    Args:
        site: the operation.
        left: position of one factor.
        right: position of the other.
        form: the product.
        bias: position of what is added to it, None for nothing.
        output: which output holds its value, where that may be read; None for none.

    Returns:
        ẏ and ÿ, in memory of their own unless they are a tangent of the bias.
    """
    da, db, dda, ddb = site.d(left), site.d(right), site.dd(left), site.dd(right)
    dbias = None if bias is None else site.d(bias)
    a = site.x(left) if db is not None or ddb is not None else None
    b = site.x(right) if da is not None or dda is not None else None
    cross: Tensor | None = None
    first: Tensor | None = None
    if da is not None and db is not None and not site.first_only:
        assert a is not None and b is not None
        y = None if output is None else _value(site, output, a, b)
        cross = form.product(da, db)
        if y is not None:
            first = _polarised(site, form, a, b, da, db, y, cross, bias, dbias)
        cross.mul_(2.0)
    if first is None:
        first = form.begin(dbias, da, b)
        first = form.begin(dbias, a, db) if first is None else form.add(first, a, db)
        first = dbias if first is None else first
    return first, form.add(form.add(cross, dda, b), a, ddb)


def _value(site: Site, output: int, a: Tensor, b: Tensor) -> Tensor | None:
    """The value of the operation if the polarised form is to be used, else None."""
    if site.products is Products.NAIVE or site.watched:
        return None
    value = site.node.outputs[output]
    if value is None or a.dtype not in (torch.float32, torch.float64) or b.dtype != a.dtype or value.dtype != a.dtype:
        return None
    if site.products is Products.AUTO and not worth_it(a.numel(), b.shape, value.shape, a.device.type):
        return None
    return site.held(value)


#: Multiply-adds of a matrix product in the time in which one byte goes through memory: measured on a CPU, and on CUDA
#: an estimate from data sheets (float32 without TF32) that no run has confirmed.
_ADDS_PER_BYTE = {"cpu": 2.5, "cuda": 12.0}


def worth_it(left: int, weight: tuple[int, ...], out: tuple[int, ...], device: str = "cpu") -> bool:
    """Whether one product less outweighs the elementwise work that takes its place.

    Args:
        left: number of elements of the first factor.
        weight: shape of the second, rows of which are as many as the product has channels (either axis of a matrix).
        out: shape of the result.
        device: kind of device.

    Returns:
        Whether it does.
    """
    size, result = math.prod(weight), math.prod(out)
    channels = weight[-1] if len(weight) == 2 and weight[-1] == out[-1] else weight[0]
    saved = result * size / max(channels, 1)
    moved = 20 * left + 20 * size + 24 * result  # bytes in float32: sums of factors, their norms, two terms taken away
    return saved > _ADDS_PER_BYTE.get(device, math.inf) * moved


def _polarised(
    site: Site, form: Bilinear, a: Tensor, b: Tensor, da: Tensor, db: Tensor, y: Tensor, c: Tensor,
    bias: int | None, dbias: Tensor | None,
) -> Tensor | None:  # fmt: skip
    """ẏ = (a/α + ȧ)(b + α ḃ) − y/α − α c, with the bias inside y; None where a bias is not at hand."""
    held: Tensor | None = None
    if bias is not None and site.arg(bias) is not None:
        held = site.held(site.arg(bias))
        if held is None:
            return None
    alpha = _scale(a, b, da, db, on_host=site.on_host)
    if not isinstance(alpha, Tensor):
        z_bias = None if held is None else (held / alpha if dbias is None else torch.add(dbias, held, alpha=1 / alpha))
        z = form.begin(z_bias, torch.add(da, a, alpha=1 / alpha), torch.add(b, db, alpha=alpha))
        assert z is not None
        return z.sub_(y, alpha=1 / alpha).sub_(c, alpha=alpha)
    inverse = alpha.reciprocal()
    z_bias = None if held is None else (held * inverse if dbias is None else torch.addcmul(dbias, held, inverse))
    z = form.begin(z_bias, torch.addcmul(da, a, inverse), torch.addcmul(b, db, alpha))
    assert z is not None
    return z.addcmul_(y, inverse, value=-1.0).addcmul_(c, alpha, value=-1.0)


def _scale(a: Tensor, b: Tensor, da: Tensor, db: Tensor, *, on_host: bool) -> float | Tensor:
    """α: the ratio of the smaller pair, that of the other where one is zero; on the host where nothing waits for it."""
    pairs = [(a, da), (b, db)] if a.numel() <= b.numel() else [(b, db), (a, da)]
    if on_host:
        for value, tangent in pairs:
            below = float(torch.linalg.vector_norm(tangent))
            ratio = float(torch.linalg.vector_norm(value)) / below if below > 0.0 else 0.0
            if 0.0 < ratio < math.inf:
                return ratio
        return 1.0
    first, other = [torch.linalg.vector_norm(x) / torch.linalg.vector_norm(dx) for x, dx in pairs]
    one = torch.ones_like(first)
    other = torch.where(torch.isfinite(other) & (other > 0), other, one)
    return torch.where(torch.isfinite(first) & (first > 0), first, other)
