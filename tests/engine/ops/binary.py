"""Rows of curvestep.engine.rules.binary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Row, apart, between, coin, fixed, normal, positive

SMOOTH: dict[str, Any] = {
    "atan2.default": torch.atan2,
    "hypot.default": torch.hypot,
    "logaddexp.default": torch.logaddexp,
    "logaddexp2.default": torch.logaddexp2,
    "xlogy.Tensor": torch.xlogy,
    "special_xlog1py.default": torch.special.xlog1py,
}


def both(name: str, run: Any, first: Any, second: Any, desc: str = "", **more: Any) -> Row:
    return Row(f"aten.{name}", run, [first, second], desc, sampled=(0, 1), **more)


def some_zero(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    return torch.xlogy(torch.where(mask, 0.0, x), torch.where(mask, 0.0, y))


def some_zero_formula(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, 0.0, x * torch.log(y))


def between_limits(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.where(low > high, high, torch.where(x < low, low, torch.where(x > high, high, x)))


limits = [apart(3, 4), fixed(between(-2.05, 0.0)(3, 4)), fixed(between(0.05, 2.0)(3, 4))]

ROWS = [
    *[both(name, run, positive(3, 4), positive(3, 4)) for name, run in SMOOTH.items()],
    *[Row(f"aten.{name}", run, [positive(3, 4), positive(4)], "weights") for name, run in SMOOTH.items()],
    Row("aten.xlogy.Scalar_Self", lambda x: torch.xlogy(1.5, x), [positive(3, 4)]),
    Row(
        "aten.xlogy.Scalar_Other",
        lambda x: torch.xlogy(x * x, 1.5),
        [normal(3, 4)],
        explicit=lambda x: x * x * torch.tensor(1.5, dtype=x.dtype).log(),
    ),
    Row("aten.special_xlog1py.self_scalar", lambda x: torch.special.xlog1py(1.5, x), [positive(3, 4)]),
    Row("aten.special_xlog1py.other_scalar", lambda x: torch.special.xlog1py(x * x, 1.5), [normal(3, 4)]),
    Row(
        "aten.xlogy.Tensor",
        some_zero,
        [positive(3, 4), positive(3, 4), coin(3, 4)],
        "zero times log zero",
        (0, 1, 2),
        explicit=some_zero_formula,
    ),
    both("xlogy.Tensor", lambda x, t: F.kl_div(x, t.abs(), reduction="none"), normal(3, 4), positive(3, 4), "kl_div"),
    both("fmod.Tensor", torch.fmod, positive(3, 4), fixed(positive(3, 4)), smooth=False),
    both(
        "fmod.Tensor",
        lambda x, y: torch.fmod(3 * x, 0.3 * y),
        positive(3, 4),
        positive(3, 4),
        "both",
        smooth=False,
        explicit=lambda x, y: 3 * x - 0.3 * y * torch.trunc(3 * x / (0.3 * y)).detach(),
    ),
    Row("aten.fmod.Scalar", lambda x: torch.fmod(x * x, 0.7), [apart(3, 4)], smooth=False),
    both(
        "remainder.Tensor",
        lambda x, y: torch.remainder(3 * x, -0.3 * y),
        normal(3, 4),
        positive(3, 4),
        smooth=False,
        explicit=lambda x, y: 3 * x + 0.3 * y * torch.floor(3 * x / (-0.3 * y)).detach(),
    ),
    Row("aten.remainder.Scalar", lambda x: torch.remainder(x * x, 0.7), [apart(3, 4)], smooth=False),
    both("copysign.Tensor", lambda x, y: torch.copysign(x * x, y), apart(3, 4), apart(3, 4), smooth=False),
    Row("aten.copysign.Scalar", lambda x: torch.copysign(x * x, -1.0), [apart(3, 4)], explicit=lambda x: -x * x),
    both("fmax.default", lambda x, y: torch.fmax(x * x, y), apart(3, 4), normal(3, 4), smooth=False),
    both("fmin.default", lambda x, y: torch.fmin(x * x, y), apart(3, 4), normal(3, 4), smooth=False),
    both(
        "ldexp.Tensor",
        lambda x, y: torch.ldexp(x, y),
        normal(3, 4),
        normal(3, 4),
        explicit=lambda x, y: x * torch.exp2(y),
    ),
    Row("aten.clamp.Tensor", torch.clamp, limits, sampled=(0, 1, 2), smooth=False, explicit=between_limits),
    Row(
        "aten.clamp.Tensor",
        torch.clamp,
        [apart(3, 4), normal(3, 4), normal(3, 4)],
        "limits move, some crossed",
        (0, 1, 2),
        smooth=False,
        explicit=between_limits,
    ),
    both(
        "clamp.Tensor",
        lambda x, low: torch.clamp(x, min=low),
        apart(3, 4),
        normal(3, 4),
        "below only",
        smooth=False,
        explicit=torch.maximum,
    ),
    both("clamp_min.Tensor", torch.clamp_min, apart(3, 4), normal(3, 4), smooth=False, explicit=torch.maximum),
    both("clamp_max.Tensor", torch.clamp_max, apart(3, 4), normal(3, 4), smooth=False, explicit=torch.minimum),
    Row(
        "aten.addcdiv.default",
        lambda x, a, b: torch.addcdiv(x, a, b, value=0.6),
        [normal(3, 4), normal(3, 4), positive(3, 4)],
        sampled=(0, 1, 2),
    ),
    Row("aten.addcdiv.default", torch.addcdiv, [normal(3, 4), normal(4), positive(1)], "weights"),
    both(
        "div.Tensor_mode",
        lambda x, y: x * y + torch.div(x, y, rounding_mode="floor"),
        normal(3, 4),
        positive(3, 4),
        smooth=False,
    ),
    both(
        "div.Tensor_mode",
        lambda x, y: torch.ops.aten.div.Tensor_mode(x, y, rounding_mode=None),
        normal(3, 4),
        positive(3, 4),
        "without a mode",
        explicit=lambda x, y: x / y,
    ),
    Row(
        "aten.div.Scalar_mode",
        lambda x: x * x + torch.ops.aten.div.Scalar_mode(x, 0.3, rounding_mode="trunc"),
        [normal(3, 4)],
        smooth=False,
    ),
    both("mul.Tensor", lambda a, b: F.cosine_similarity(a, b), normal(3, 4), normal(3, 4), "cosine similarity"),
]
