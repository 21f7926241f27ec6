"""Rows of curvestep.engine.rules.activation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Row, apart, normal

# hardsigmoid is tested by hand: torch's backward multiplies by 1/6 rounded to float32, in float64 too.


def randomly_leaky(x: Tensor) -> Tensor:
    torch.manual_seed(3)
    return F.rrelu(x, training=True)


def piecewise(name: str, run: Any, explicit: Any = None, desc: str = "") -> Row:
    return Row(f"aten.{name}.default", run, [apart(3, 4)], desc, explicit=explicit, smooth=False)


def hard_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp(x / 6 + 0.5, 0, 1)


def hard_swish(x: Tensor) -> Tensor:
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


def bent(run: Any) -> Any:
    return lambda x: run(4 * x + x * x)


ROWS = [
    Row("aten.hardswish.default", F.hardswish, [apart(3, 4)], explicit=hard_swish, smooth=False),
    piecewise("hardswish", bent(F.hardswish), bent(hard_swish), "wide"),
    piecewise("celu", F.celu),
    piecewise("celu", lambda x: F.celu(x, 0.75), None, "alpha"),
    piecewise("softshrink", lambda x: F.softshrink(x * x, 0.3), lambda x: torch.relu(x * x - 0.3)),
    piecewise("hardshrink", lambda x: F.hardshrink(x, 0.25), lambda x: torch.where(x.abs() > 0.25, x, 0.0)),
    piecewise("rrelu_with_noise", randomly_leaky),
    piecewise("rrelu_with_noise", F.rrelu, None, "evaluation"),
    Row("aten._prelu_kernel.default", F.prelu, [apart(3, 4), normal(1)], "one slope", smooth=False),
    Row("aten._prelu_kernel.default", F.prelu, [apart(3, 4, 5), normal(4)], "a slope a channel", smooth=False),
    Row("aten.glu.default", lambda x: F.glu(x, -1), [normal(3, 6)]),
    Row("aten.glu.default", lambda x: F.glu(x, 1), [normal(3, 4, 5)], "channels"),
    Row("aten.sub.Tensor", F.tanhshrink, [normal(3, 4)], "tanhshrink"),
    piecewise("abs", F.softsign, None, "softsign"),
    Row("aten._softmax.default", lambda x: F.softmin(x, -1), [normal(3, 4)], "softmin"),
]
