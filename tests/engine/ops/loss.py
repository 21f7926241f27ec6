"""Rows of curvestep.engine.rules.loss: unreduced, and reduced to a mean or a sum that is split over the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Draw, Row, between, fixed, integers, normal, positive, unit

weights = torch.tensor([0.5, 1.5, 1.0, 2.0], dtype=torch.float64)


def reduced(
    op: str,
    loss: Callable[..., Tensor],
    inputs: list[Any],
    desc: str = "",
    sampled: tuple[int, ...] = (0, 1),
    **more: Any,
) -> list[Row]:
    """The three reductions of an elementwise loss."""

    def of(reduction: str) -> Callable[..., Tensor]:
        return lambda *args: loss(*args, reduction=reduction)

    def mean_terms(*args: Any) -> Tensor:
        each = loss(*args, reduction="none")
        return each.reshape(len(each), -1).mean(1)

    def sum_terms(*args: Any) -> Tensor:
        each = loss(*args, reduction="none")
        return len(each) * each.reshape(len(each), -1).sum(1)

    return [
        Row(op, of("none"), inputs, f"{desc} none".strip(), sampled, **more),
        Row(op, of("mean"), inputs, f"{desc} mean".strip(), sampled, terms=mean_terms, **more),
        Row(op, of("sum"), inputs, f"{desc} sum".strip(), sampled, terms=sum_terms, **more),
    ]


def entropy(weight: Tensor | None = None, ignore: int = -100) -> tuple[Any, Any]:
    """The mean cross entropy, and its summands times the batch size: w_y ℓ / Σ w_y."""

    def mean(x: Tensor, y: Tensor) -> Tensor:
        w = None if weight is None else weight.to(x.dtype)
        return F.cross_entropy(x, y, w, ignore_index=ignore)

    def parts(x: Tensor, y: Tensor) -> Tensor:
        w = torch.ones(x.shape[1], dtype=x.dtype) if weight is None else weight.to(x.dtype)
        kept = y != ignore
        scale = torch.where(kept, w[y * kept], 0.0)
        picked = -torch.log_softmax(x, 1).gather(1, (y * kept).unsqueeze(1)).squeeze(1)
        each = scale * picked / scale.sum()
        return len(each) * each.reshape(len(each), -1).sum(1)

    return mean, parts


def huber(x: Tensor, y: Tensor, reduction: str) -> Tensor:
    return F.huber_loss(x, y, reduction=reduction, delta=0.6)


def smooth_l1(beta: float) -> Any:
    return lambda x, y, reduction: F.smooth_l1_loss(x, y, reduction=reduction, beta=beta)


def logits(x: Tensor, y: Tensor, w: Tensor, p: Tensor, reduction: str) -> Tensor:
    return F.binary_cross_entropy_with_logits(x, y, w, reduction=reduction, pos_weight=p)


def weighted_bce(x: Tensor, y: Tensor, w: Tensor, reduction: str) -> Tensor:
    return F.binary_cross_entropy(x, y, w, reduction=reduction)


def nll(op: str, desc: str, inputs: list[Draw], **options: Any) -> Row:
    mean, parts = entropy(**options)
    return Row(op, mean, inputs, desc, terms=parts)


NLL, NLL2D = "aten.nll_loss_forward.default", "aten.nll_loss2d_forward.default"
near = between(-2.0, 2.0)

ROWS = [
    nll(NLL, "mean", [normal(3, 4), integers(4)(3)]),
    nll(NLL, "class weights", [normal(5, 4), integers(4)(5)], weight=weights),
    nll(NLL, "ignored class", [normal(7, 4), integers(4)(7)], ignore=1),
    nll(NLL, "class weights, ignored class", [normal(7, 4), integers(4)(7)], weight=weights, ignore=2),
    nll(NLL2D, "mean of images", [normal(3, 4, 2, 2), integers(4)(3, 2, 2)]),
    nll(NLL2D, "class weights, ignored class", [normal(3, 4, 2, 5), integers(4)(3, 2, 5)], weight=weights, ignore=2),
    *reduced(
        NLL,
        lambda x, y, reduction: F.cross_entropy(x, y, reduction=reduction),
        [normal(3, 4), integers(4)(3)],
        "entropy",
    ),
    *reduced(
        NLL2D,
        lambda x, y, reduction: F.cross_entropy(x, y, reduction=reduction),
        [normal(3, 4, 2, 5), integers(4)(3, 2, 5)],
        "entropy",
    ),
    *reduced(
        NLL2D,
        lambda x, y, reduction: F.cross_entropy(x, y, reduction=reduction),
        [normal(3, 4, 5), integers(4)(3, 5)],
        "entropy of tokens",
    ),
    Row(
        "aten._log_softmax.default",
        lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1),
        [normal(3, 4), integers(4)(3)],
        "label smoothing",
        terms=lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1, reduction="none"),
    ),
    Row(
        "aten._log_softmax.default",
        lambda x, y: F.cross_entropy(x, y.softmax(1)),
        [normal(3, 4), fixed(normal(3, 4))],
        "soft targets",
        terms=lambda x, y: -(torch.log_softmax(x, 1) * y.softmax(1)).sum(1),
    ),
    *reduced("aten.mse_loss.default", F.mse_loss, [normal(3, 4), normal(3, 4)]),
    *reduced("aten.mse_loss.default", F.mse_loss, [normal(3, 4, 2), fixed(normal(3, 4, 2))], "fixed target"),
    *reduced("aten.huber_loss.default", huber, [normal(3, 4), normal(3, 4)], smooth=False),
    *reduced("aten.smooth_l1_loss.default", smooth_l1(0.6), [normal(3, 4), normal(3, 4)], smooth=False),
    *reduced("aten.abs.default", F.l1_loss, [normal(3, 4), fixed(normal(3, 4))], "l1", smooth=False),
    *reduced("aten.binary_cross_entropy.default", F.binary_cross_entropy, [unit(3, 4), fixed(unit(3, 4))]),
    *reduced(
        "aten.binary_cross_entropy.default",
        weighted_bce,
        [unit(3, 4), fixed(unit(3, 4)), fixed(positive(3, 4))],
        "weighted",
        sampled=(0, 1, 2),
    ),
    *reduced(
        "aten.binary_cross_entropy_with_logits.default",
        F.binary_cross_entropy_with_logits,
        [near(3, 4), fixed(unit(3, 4))],
    ),
    *reduced(
        "aten.binary_cross_entropy_with_logits.default",
        logits,
        [near(3, 4), fixed(unit(3, 4)), fixed(positive(3, 4)), fixed(positive(4))],
        "weighted",
        sampled=(0, 1, 2),
    ),
]
