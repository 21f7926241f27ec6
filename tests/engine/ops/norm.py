"""Rows of curvestep.engine.rules.norm."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Row, fixed, normal, positive


def layer(*shape: int) -> Any:
    return lambda x, w=None, b=None: F.layer_norm(x, shape, w, b, 1e-3)


def layer_formula(*shape: int) -> Any:
    def run(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        axes = list(range(-len(shape), 0))
        return affine(standard(x, axes, 1e-3), w, b)

    return run


def standard(x: Tensor, axes: list[int], eps: float) -> Tensor:
    u = x - x.mean(axes, keepdim=True)
    return u / ((u * u).mean(axes, keepdim=True) + eps).sqrt()


def affine(n: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    n = n if w is None else n * w
    return n if b is None else n + b


def group(groups: int) -> Any:
    return lambda x, w=None, b=None: F.group_norm(x, groups, w, b, 1e-3)


def group_formula(groups: int) -> Any:
    def run(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        n = standard(x.reshape(len(x), groups, -1), [-1], 1e-3).reshape(x.shape)
        return affine(n, *channels(x, w, b))

    return run


def channels(x: Tensor, *parts: Tensor | None) -> list[Tensor | None]:
    return [None if p is None else p.reshape(-1, *[1] * (x.dim() - 2)) for p in parts]


def batch(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, w, b, training=True, eps=1e-3)


def batch_formula(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    return affine(standard(x, [0, *range(2, x.dim())], 1e-3), *channels(x, w, b))


def batch_still(x: Tensor, mean: Tensor, var: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, mean, var, w, b, training=False, eps=1e-3)


def batch_still_formula(
    x: Tensor, mean: Tensor, var: Tensor, w: Tensor | None = None, b: Tensor | None = None
) -> Tensor:
    m, v = channels(x, mean, var)
    assert m is not None and v is not None
    return affine((x - m) / (v + 1e-3).sqrt(), *channels(x, w, b))


def instance(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    return F.instance_norm(x, weight=w, bias=b, eps=1e-3)


def instance_formula(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    return affine(standard(x, list(range(2, x.dim())), 1e-3), *channels(x, w, b))


def row(op: str, run: Any, formula: Any, inputs: list[Any], desc: str = "") -> Row:
    return Row(f"aten.native_{op}_norm.default", run, inputs, desc, explicit=formula)


ROWS = [
    row("layer", layer(5), layer_formula(5), [normal(3, 5)], "plain"),
    row("layer", layer(5), layer_formula(5), [normal(3, 5), normal(5), normal(5)], "affine"),
    row("layer", layer(5), layer_formula(5), [normal(3, 5), normal(5)], "no bias"),
    row(
        "layer", layer(2, 5), layer_formula(2, 5), [normal(3, 4, 2, 5), normal(2, 5), normal(2, 5)], "two axes, tokens"
    ),
    row(
        "layer",
        lambda x, w: layer(5)(x, w, w),
        lambda x, w: layer_formula(5)(x, w, w),
        [normal(3, 5), normal(5)],
        "weight is bias",
    ),
    row("group", group(2), group_formula(2), [normal(3, 4, 5), normal(4), normal(4)], "affine"),
    row("group", group(2), group_formula(2), [normal(3, 4, 2, 3)], "plain"),
    row("group", group(1), group_formula(1), [normal(3, 4, 2, 3), normal(4), normal(4)], "one group"),
    row("group", group(4), group_formula(4), [normal(3, 4, 2, 2, 2), normal(4), normal(4)], "a group a channel"),
    row("batch", batch, batch_formula, [normal(4, 5), normal(5), normal(5)], "training"),
    row("batch", batch, batch_formula, [normal(4, 2, 6)], "training plain"),
    row("batch", batch, batch_formula, [normal(3, 2, 2, 4), normal(2), normal(2)], "training images"),
    row("batch", batch, batch_formula, [normal(3, 2, 2, 4), normal(2)], "training no bias"),
    row(
        "batch",
        batch_still,
        batch_still_formula,
        [normal(3, 2, 4), fixed(normal(2)), fixed(positive(2)), normal(2), normal(2)],
        "eval",
    ),
    row(
        "batch", batch_still, batch_still_formula, [normal(3, 2, 4), fixed(normal(2)), fixed(positive(2))], "eval plain"
    ),
    row("batch", instance, instance_formula, [normal(3, 2, 5), normal(2), normal(2)], "instance"),
    row("batch", instance, instance_formula, [normal(3, 2, 2, 4)], "instance plain"),
]
