"""Rows of curvestep.engine.rules.backward_ops: losses made of a gradient that is taken inside the forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Draw, Row, apart, fixed, integers, normal, positive, unit

aten = torch.ops.aten
PAIR = [normal(3, 4), normal(3, 4)]
KINKED: list[Draw] = [normal(3, 4), apart(3, 4)]


def call(name: str, inputs: Any, formula: Any, *rest: Any, desc: str = "", smooth: bool = True, **options: Any) -> Row:
    """A backward kernel called by name: torch differentiates most of them once, so the truth is the formula."""
    op = getattr(aten, name).default

    def run(*args: Any) -> Any:
        return op(*args, *rest, **options)

    return Row(f"aten.{name}.default", run, inputs, desc, tuple(range(len(inputs))), explicit=formula, smooth=smooth)


def tracked(x: Tensor) -> Tensor:
    """A held input is differentiated all the same, inside."""
    return x if x.requires_grad else x.clone().requires_grad_()


def slope(function: Any) -> Any:
    """g·f′(x) by differentiating an explicit formula of f."""

    def run(g: Tensor, x: Tensor) -> Tensor:
        x = tracked(x)
        return torch.autograd.grad(function(x), x, g, create_graph=True)[0] + 0 * x

    return run


def formula_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def formula_gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def hard_swish(x: Tensor) -> Tensor:
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


def through(network: Any, formula: Any = None) -> Any:
    """The squared gradient of a network with respect to its input, as in a physics-informed net."""

    def run(x: Tensor, *rest: Tensor) -> Tensor:
        x = tracked(x)
        y = network(x, *rest) if formula is None else formula(x, *rest)
        return torch.autograd.grad(y.sin().sum(), x, create_graph=True)[0]

    return run


def gradient(op: str, network: Any, rows: Any, desc: str = "", formula: Any = None, **more: Any) -> Row:
    explicit = None if formula is None else through(None, formula)
    return Row(f"aten.{op}.default", through(network), rows, desc, explicit=explicit, **more)


def plain_norm(dims: list[int]) -> Any:
    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        u = x - x.mean(dims, keepdim=True)
        n = u / (u.square().mean(dims, keepdim=True) + 1e-3).sqrt()
        shape = [1, -1] + [1] * (x.dim() - 2) if dims[0] == 0 else [-1]
        return n * w.reshape(shape) + b.reshape(shape)

    return run


def plain_group(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    folded = x.reshape(len(x), 2, -1)
    u = folded - folded.mean(2, keepdim=True)
    n = (u / (u.square().mean(2, keepdim=True) + 1e-3).sqrt()).reshape(x.shape)
    return n * w.reshape(1, -1, 1) + b.reshape(1, -1, 1)


def nll(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    weight = torch.ones((), dtype=x.dtype)
    return aten.nll_loss_backward.default(g, x, y, None, 0, -100, weight)


def picked(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return -g.unsqueeze(1) * F.one_hot(y, x.shape[1]).to(x.dtype) + 0 * x


def reduced(name: str, formula: Any, inputs: Any, *rest: Any, desc: str = "", smooth: bool = True) -> Row:
    return call(name, inputs, formula, 0, *rest, desc=desc, smooth=smooth)


X3 = [normal(3, 4, 5), normal(4), normal(4)]

ROWS = [
    call("tanh_backward", PAIR, lambda g, y: g * (1 - y * y)),
    call("sigmoid_backward", PAIR, lambda g, y: g * y * (1 - y)),
    call("threshold_backward", KINKED, lambda g, x: g * (x > 0) + 0 * x, 0.0, smooth=False),
    call("softplus_backward", PAIR, lambda g, x: g * torch.sigmoid(1.5 * x), 1.5, 20.0),
    Row(
        "aten.elu_backward.default",
        lambda g, x: aten.elu_backward.default(g, 0.75, 1.0, 1.0, False, x),
        KINKED,
        "",
        (0, 1),
        explicit=lambda g, x: torch.where(x > 0, g, g * 0.75 * torch.exp(x)),
        smooth=False,
    ),
    call(
        "leaky_relu_backward", KINKED, lambda g, x: torch.where(x > 0, g, 0.25 * g) + 0 * x, 0.25, False, smooth=False
    ),
    call("hardtanh_backward", KINKED, lambda g, x: g * (x.abs() < 1) + 0 * x, -1.0, 1.0, smooth=False),
    call("hardswish_backward", KINKED, slope(hard_swish), smooth=False),
    call("gelu_backward", PAIR, slope(formula_gelu)),
    call("gelu_backward", PAIR, slope(formula_gelu_tanh), desc="tanh", approximate="tanh"),
    Row(
        "aten.log_sigmoid_backward.default",
        lambda g, x: aten.log_sigmoid_backward.default(g, x, torch.exp(-x.detach().abs())),
        PAIR,
        "",
        (0, 1),
        explicit=lambda g, x: g * torch.sigmoid(-x),
    ),
    call("glu_backward", [normal(3, 2), normal(3, 4)], slope(lambda x: x[:, :2] * torch.sigmoid(x[:, 2:])), 1),
    call("softshrink_backward", KINKED, lambda g, x: g * (x.abs() > 0.5) + 0 * x, 0.5, smooth=False),
    call("hardshrink_backward", KINKED, lambda g, x: g * (x.abs() > 0.5) + 0 * x, 0.5, smooth=False),
    call(
        "rrelu_with_noise_backward",
        [*KINKED, fixed(positive(3, 4))],
        lambda g, x, n: g * n + 0 * x,
        0.1,
        0.3,
        True,
        False,
        smooth=False,
    ),
    Row(
        "aten._prelu_kernel_backward.default",
        aten._prelu_kernel_backward.default,
        [normal(3, 4), apart(3, 4), normal(4)],
        "",
        (0, 1),
        explicit=lambda g, x, w: [torch.where(x > 0, g, g * w) + 0 * (x + w), torch.where(x > 0, 0.0, g * x) + 0 * w],
        smooth=False,
    ),
    call(
        "_softmax_backward_data",
        PAIR,
        lambda g, y: g * y - y * (g * y).sum(1, keepdim=True),
        1,
        torch.float64,
        smooth=True,
    ),
    call("_log_softmax_backward_data", PAIR, lambda g, y: g - torch.exp(y) * g.sum(1, keepdim=True), 1, torch.float64),
    reduced("mse_loss_backward", lambda g, x, t: 2 * g * (x - t), [*PAIR, normal(3, 4)]),
    reduced(
        "smooth_l1_loss_backward",
        lambda g, x, t: g * torch.clamp((x - t) / 0.5, -1, 1),
        [*PAIR, normal(3, 4)],
        0.5,
        smooth=False,
    ),
    reduced(
        "huber_loss_backward",
        lambda g, x, t: g * torch.clamp(x - t, -0.5, 0.5),
        [*PAIR, normal(3, 4)],
        0.5,
        smooth=False,
    ),
    call(
        "binary_cross_entropy_backward",
        [normal(3, 4), unit(3, 4), fixed(unit(3, 4))],
        lambda g, x, t: g * (x - t) / (x * (1 - x)),
        None,
        0,
    ),
    reduced("soft_margin_loss_backward", lambda g, x, t: -g * t * torch.sigmoid(-t * x), [*PAIR, fixed(normal(3, 4))]),
    Row(
        "aten.nll_loss_backward.default", nll, [normal(3), normal(3, 5), integers(5)(3)], "", (0, 1, 2), explicit=picked
    ),
    gradient(
        "convolution_backward",
        lambda x, w, b: F.conv1d(x, w, b, padding=1),
        [normal(3, 2, 5), normal(4, 2, 3), normal(4)],
        "1d",
    ),
    gradient(
        "convolution_backward",
        lambda x, w: F.conv2d(x, w, stride=2, groups=2),
        [normal(3, 4, 5, 5), normal(4, 2, 3, 3)],
        "2d",
    ),
    gradient(
        "native_layer_norm_backward",
        lambda x, w, b: F.layer_norm(x, (4,), w, b, 1e-3),
        [normal(3, 4), normal(4), normal(4)],
        formula=plain_norm([-1]),
    ),
    gradient(
        "native_group_norm",
        lambda x, w, b: F.group_norm(x, 2, w, b, 1e-3),
        X3,
        "differentiated",
        formula=plain_group,
    ),
    gradient(
        "native_batch_norm_backward",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, 1e-3),
        X3,
        formula=plain_norm([0, 2]),
        exact=None,
    ),
    gradient("avg_pool2d_backward", lambda x: F.avg_pool2d(x * x, 2), [normal(3, 2, 4, 4)]),
    gradient("max_pool2d_with_indices_backward", lambda x: F.max_pool2d(x * x, 2), [apart(3, 2, 4, 4)], smooth=False),
    gradient("slice_backward", lambda x: (x * x)[:, 1:3], [normal(3, 4)]),
    gradient("select_backward", lambda x: (x * x)[:, 2], [normal(3, 4)]),
    gradient("tanh_backward", lambda x, w: torch.tanh(x @ w), [normal(3, 4), normal(4, 5)], "of a network"),
]
