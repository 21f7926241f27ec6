"""Rows of curvestep.engine.rules.pointwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Row, apart, between, coin, fixed, normal, positive, unit

aten = torch.ops.aten


def dropout(p: float) -> Any:
    """Dropout with the same mask at every call, training; the mask is drawn inside the recording."""

    def run(x: Tensor) -> Tensor:
        torch.manual_seed(5)
        return torch.native_dropout(x, p, True)[0]

    return run


def masked(x: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    return torch.masked_fill(x, mask, value)


def plus_detached(run: Any) -> Any:
    """A constant made out of the input, next to the input: only the latter moves."""
    return lambda x: x * x + run(x)


SMOOTH: dict[str, Any] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "mish": F.mish,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "sin": torch.sin,
    "cos": torch.cos,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "atan": torch.atan,
    "erf": torch.erf,
    "neg": torch.neg,
}
ON_POSITIVE: dict[str, Any] = {
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
}
STEPS: dict[str, Any] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "sign": torch.sign,
}

ROWS = [
    *[Row(f"aten.{name}.default", run, [normal(3, 4)]) for name, run in SMOOTH.items()],
    *[Row(f"aten.{name}.default", run, [positive(3, 4)]) for name, run in ON_POSITIVE.items()],
    *[Row(f"aten.{name}.default", run, [normal(5, 2)], "on weights", sampled=()) for name, run in SMOOTH.items()],
    Row("aten.tan.default", torch.tan, [between(-0.8, 0.8)(3, 4)]),
    Row("aten.tanh.default", torch.tanh, [normal(3)], "one number a sample"),
    Row("aten.gelu.default", F.gelu, [normal(3, 4)]),
    Row("aten.gelu.default", lambda x: F.gelu(x, approximate="tanh"), [normal(3, 4)], "tanh"),
    Row("aten.softplus.default", F.softplus, [normal(3, 4)]),
    Row("aten.softplus.default", lambda x: F.softplus(x, 2.0, 1.2), [apart(3, 4)], "beta, threshold", smooth=False),
    Row("aten.elu.default", F.elu, [apart(3, 4)], smooth=False),
    Row("aten.elu.default", lambda x: F.elu(x, 1.7), [apart(3, 4)], "alpha", smooth=False),
    Row("aten.elu.default", F.selu, [apart(3, 4)], "selu", smooth=False),
    Row("aten.log_sigmoid_forward.default", F.logsigmoid, [normal(3, 4)]),
    # piecewise linear: apart from the kinks central differences hold too
    Row("aten.relu.default", F.relu, [apart(3, 4)], smooth=False),
    Row("aten.leaky_relu.default", lambda x: F.leaky_relu(x, 0.2), [apart(3, 4)], smooth=False),
    Row("aten.hardtanh.default", lambda x: F.hardtanh(x, -0.6, 0.4), [apart(3, 4)], smooth=False),
    Row("aten.hardtanh.default", F.relu6, [apart(3, 4)], "relu6", smooth=False),
    Row("aten.threshold.default", lambda x: F.threshold(x, 0.4, -2.0), [apart(3, 4)], smooth=False),
    Row("aten.clamp.default", lambda x: x.clamp(-0.4, 0.6), [apart(3, 4)], smooth=False),
    Row("aten.clamp.default", lambda x: x.clamp(max=0.6), [apart(3, 4)], "max alone", smooth=False),
    Row("aten.clamp_min.default", lambda x: x.clamp_min(-0.4), [apart(3, 4)], smooth=False),
    Row("aten.clamp_max.default", lambda x: x.clamp_max(0.4), [apart(3, 4)], smooth=False),
    Row("aten.abs.default", torch.abs, [apart(3, 4)], smooth=False),
    # powers
    *[
        Row("aten.pow.Tensor_Scalar", lambda x, n: x**n, [positive(3, 4), n], f"to the {n}")
        for n in (-1.5, -1, 0, 0.5, 1, 2, 3, 2.5)
    ],
    Row("aten.pow.Tensor_Scalar", lambda x: x**3, [normal(3, 4)], "negative base"),
    Row("aten.pow.Tensor_Tensor", torch.pow, [positive(3, 4), normal(3, 4)], sampled=(0, 1)),
    Row("aten.pow.Tensor_Tensor", torch.pow, [positive(3, 4), normal(4)], "broadcast exponent"),
    Row("aten.pow.Scalar", lambda x: 1.7**x, [normal(3, 4)]),
    # two operands
    Row("aten.add.Tensor", torch.add, [normal(3, 4), normal(3, 4)], sampled=(0, 1)),
    Row("aten.add.Tensor", lambda x, b: torch.add(x, b, alpha=-1.3), [normal(3, 2, 4), normal(2, 1)], "alpha"),
    Row("aten.add.Tensor", lambda x: 2.5 + x, [normal(3, 4)], "scalar"),
    Row("aten.add.Scalar", lambda x: aten.add.Scalar(x, 2.5), [normal(3, 4)]),
    Row("aten.sub.Tensor", torch.sub, [normal(3, 4), normal(4)]),
    Row("aten.sub.Tensor", lambda x, b: torch.sub(x, b, alpha=2.0), [normal(3, 4), normal(3, 4)], "alpha", (0, 1)),
    Row("aten.sub.Scalar", lambda x: aten.sub.Scalar(x, 2.5), [normal(3, 4)]),
    Row("aten.rsub.Scalar", lambda x: 1 - x, [normal(3, 4)]),
    Row("aten.rsub.Scalar", lambda x: torch.rsub(x, 1.5, alpha=2), [normal(3, 4)], "alpha"),
    Row("aten.rsub.Tensor", lambda x, y: aten.rsub.Tensor(x, y, alpha=2), [normal(3, 4), normal(4)]),
    Row("aten.mul.Tensor", torch.mul, [normal(3, 4), normal(3, 4)], sampled=(0, 1)),
    Row("aten.mul.Tensor", torch.mul, [normal(3, 2, 4), normal(2, 1)], "broadcast weight"),
    Row("aten.mul.Tensor", torch.mul, [normal(3, 1, 4), normal(2, 1)], "both broadcast"),
    Row("aten.mul.Tensor", lambda x: x * 1.5, [normal(3, 4)], "scalar"),
    Row("aten.mul.Tensor", lambda x: x * x, [normal(3, 4)], "with itself"),
    Row("aten.mul.Tensor", torch.mul, [normal(4, 2), normal(2)], "of weights", sampled=()),
    Row("aten.mul.Scalar", lambda x: aten.mul.Scalar(x, 1.5), [normal(3, 4)]),
    Row("aten.div.Tensor", torch.div, [normal(3, 4), positive(3, 4)], sampled=(0, 1)),
    Row("aten.div.Tensor", torch.div, [normal(3, 2, 4), positive(2, 1)], "broadcast weight"),
    Row("aten.div.Tensor", lambda x: x / 1.7, [normal(3, 4)], "by a scalar"),
    Row("aten.div.Tensor", lambda x: x / x.sum(1, keepdim=True), [positive(3, 4)], "by its own sum"),
    Row("aten.div.Scalar", lambda x: aten.div.Scalar(x, 1.7), [normal(3, 4)]),
    Row("aten.reciprocal.default", lambda x: 2.0 / x, [positive(3, 4)], "scalar over tensor"),
    Row("aten.maximum.default", torch.maximum, [apart(3, 4), normal(3, 4)], sampled=(0, 1), smooth=False),
    Row("aten.minimum.default", torch.minimum, [apart(3, 4), normal(4)], "broadcast", smooth=False),
    # three operands, choices, casts
    Row("aten.addcmul.default", torch.addcmul, [normal(3, 4), normal(3, 4), normal(4)], sampled=(0, 1)),
    Row(
        "aten.addcmul.default",
        lambda a, b, c: torch.addcmul(a, b, c, value=-0.7),
        [normal(3, 4), normal(3, 4), normal(3, 4)],
        "value",
        sampled=(0, 1, 2),
    ),
    Row("aten.lerp.Scalar", lambda a, b: torch.lerp(a, b, 0.3), [normal(3, 4), normal(3, 4)], sampled=(0, 1)),
    Row("aten.lerp.Tensor", torch.lerp, [normal(3, 4), normal(3, 4), unit(4)], sampled=(0, 1)),
    Row("aten.lerp.Tensor", torch.lerp, [normal(3, 4), normal(4), unit(3, 4)], "moving weight", sampled=(0, 2)),
    Row("aten.where.self", lambda m, a, b: torch.where(m, a, b), [coin(3, 4), normal(3, 4), normal(4)], sampled=(1,)),
    Row("aten.where.self", lambda m, a: torch.where(m, a * a, 0.5), [coin(3, 4), normal(3, 4)], "number", sampled=(1,)),
    Row("aten.masked_fill.Scalar", lambda x, m: x.masked_fill(m, 0.5), [normal(3, 4), coin(3, 4)]),
    Row("aten.masked_fill.Scalar", lambda x, m: x.masked_fill(m, 0.5), [normal(3, 2, 4), coin(2, 1)], "broadcast mask"),
    Row("aten.masked_fill.Tensor", masked, [normal(3, 4), coin(3, 4), normal()]),
    Row(
        "aten._to_copy.default",
        lambda x: (x * x).double() * 1.0 if x.dtype == torch.float32 else _there(x * x),
        [normal(3, 4)],
        "there and back",
    ),
    Row("aten.copy_.default", lambda x: torch.zeros(3, 4, dtype=x.dtype).copy_(x * x), [normal(3, 4)]),
    # What is left is moved by a parameter and meets weights of three rows: whose they are is nobody's to say.
    Row(
        "aten.copy_.default",
        lambda x, y: (x * x).copy_(y),
        [normal(3, 4), normal(4)],
        "over a moving tensor",
        exact=None,
    ),
    Row("aten.native_dropout.default", dropout(0.5), [normal(3, 4)]),
    Row("aten.native_dropout.default", dropout(0.2), [normal(3, 2, 4)], "0.2"),
    # constants
    *[
        Row(f"aten.{name}.default", plus_detached(run), [apart(3, 4)], "next to x²", smooth=False)
        for name, run in STEPS.items()
    ],
    *[
        Row(f"aten.{name}.default", plus_detached(run), [normal(3, 4)], "next to x²")
        for name, run in {
            "zeros_like": torch.zeros_like,
            "ones_like": torch.ones_like,
            "full_like": lambda x: torch.full_like(x, 0.3),
            "empty_like": lambda x: 0 * torch.nan_to_num(torch.empty_like(x)),
            "rand_like": lambda x: 0 * torch.rand_like(x),
            "randn_like": lambda x: 0 * torch.randn_like(x),
            "new_zeros": lambda x: x.new_zeros(3, 4),
            "new_ones": lambda x: x.new_ones(4),
            "new_full": lambda x: x.new_full((3, 1), 0.3),
            "new_empty": lambda x: 0 * torch.nan_to_num(x.new_empty(3, 4)),
            "new_empty_strided": lambda x: 0 * torch.nan_to_num(x.new_empty_strided((3, 4), (4, 1))),
        }.items()
    ],
    # what is detached does not move, though central differences would see it move
    Row("aten.detach.default", plus_detached(torch.detach), [normal(3, 4)], "next to x²", smooth=False),
    Row("aten.bernoulli.default", lambda x: x * x + torch.bernoulli(x).round() * 0, [unit(3, 4)]),
    Row("aten.fill.Scalar", lambda x: x * x + aten.fill.Scalar(x, 0.7), [normal(3, 4)]),
    Row("aten.zero.default", lambda x: x * x + aten.zero.default(x), [normal(3, 4)]),
    Row("aten.mul.Tensor", torch.mul, [normal(3, 4), fixed(normal(3, 4))], "with data", sampled=(0, 1)),
]


def _there(x: Tensor) -> Tensor:
    """To another layout and back: a copy that keeps the precision."""
    return x.to(torch.float64, copy=True)
