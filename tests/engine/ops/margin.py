"""Rows of curvestep.engine.rules.margin and ctc."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.loss import reduced
from tests.engine.ops.row import Row, apart, fixed, integers, normal

weights = torch.tensor([0.5, 1.5, 1.0, 2.0, 0.7], dtype=torch.float64)
LABELS = torch.tensor([[1, 3, -1, 0, 2], [4, -1, 0, 1, 2], [2, 0, 1, -1, 3]])


def multi(power: int, weighted: bool = False) -> Any:
    def run(x: Tensor, y: Tensor, **options: Any) -> Tensor:
        return F.multi_margin_loss(x, y, p=power, weight=weights.to(x.dtype) if weighted else None, **options)

    return run


def multi_formula(power: int, weighted: bool = False) -> Any:
    def run(x: Tensor, y: Tensor) -> Tensor:
        gap = torch.relu(1 + x - x.gather(1, y.unsqueeze(1))) ** power
        each = (gap * (1 - F.one_hot(y, x.shape[1]))).sum(1) / x.shape[1]
        return each * weights.to(x.dtype)[y] if weighted else each

    return run


def multilabel_formula(x: Tensor) -> Tensor:
    out = []
    for row, labels in zip(x, LABELS.tolist(), strict=True):
        wanted = labels[: labels.index(-1)]
        others = [i for i in range(len(labels)) if i not in wanted]
        out.append(torch.stack([torch.relu(1 - row[y] + row[i]) for y in wanted for i in others]).sum() / len(labels))
    return torch.stack(out)


def margins(op: str, loss: Any, each: Any, inputs: list[Any], desc: str = "") -> list[Row]:
    """The three reductions; torch has no double backward of these losses, so the truth is their definition."""

    def of(reduction: str) -> Any:
        return lambda *args: loss(*args, reduction=reduction)

    return [
        Row(op, of("none"), inputs, f"{desc} none".strip(), explicit=each, smooth=False),
        Row(op, of("mean"), inputs, f"{desc} mean".strip(), terms=each, smooth=False),
        Row(op, of("sum"), inputs, f"{desc} sum".strip(), terms=lambda *a: len(a[0]) * each(*a), smooth=False),
    ]


def signs(loss: Any) -> Any:
    return lambda x, t, **options: loss(x, torch.sign(t), **options)


def multilabel(x: Tensor, **options: Any) -> Tensor:
    return F.multilabel_margin_loss(x, LABELS, **options)


# -- connectionist temporal classification: the definition, a sum over every alignment -------------------------------

TARGETS = torch.tensor([[1, 2], [2, 2], [1, 0]])
STEPS = torch.tensor([4, 4, 3])
SIZES = torch.tensor([2, 2, 1])


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label)


def alignments(x: Tensor) -> Tensor:
    """−log of the summed probabilities of all paths that collapse to the target, for each sample."""
    out = []
    for b, (steps, size) in enumerate(zip(STEPS.tolist(), SIZES.tolist(), strict=True)):
        wanted = tuple(TARGETS[b, :size].tolist())
        paths = [p for p in itertools.product(range(x.shape[2]), repeat=steps) if collapsed(p) == wanted]
        index = torch.tensor(paths)
        scores = x[torch.arange(steps), b, index].sum(1)
        out.append(-torch.logsumexp(scores, 0))
    return torch.stack(out)


def ctc(lists: bool = False, flat: bool = False) -> Any:
    def run(x: Tensor) -> Tensor:
        log_p = torch.log_softmax(x.transpose(0, 1), 2)
        targets = torch.cat([TARGETS[b, :n] for b, n in enumerate(SIZES.tolist())]) if flat else TARGETS
        if lists:
            return torch.ops.aten._ctc_loss.default(log_p, targets, STEPS.tolist(), SIZES.tolist(), 0)[0]
        return F.ctc_loss(log_p, targets, STEPS, SIZES, reduction="none")

    return run


def ctc_formula(x: Tensor) -> Tensor:
    return alignments(torch.log_softmax(x.transpose(0, 1), 2))


def impossible(x: Tensor) -> Tensor:
    """The second sample has no alignment: its target repeats a label in too few steps."""
    log_p = torch.log_softmax(x.transpose(0, 1), 2)
    return F.ctc_loss(log_p, TARGETS, torch.tensor([4, 2, 3]), SIZES, reduction="none", zero_infinity=True)


def impossible_formula(x: Tensor) -> Tensor:
    return ctc_formula(x) * torch.tensor([1, 0, 1])


SCORES = normal(3, 4, 3)
SCORED = [apart(3, 5), integers(5)(3)]

ROWS = [
    *reduced("aten.soft_margin_loss.default", signs(F.soft_margin_loss), [normal(3, 4), fixed(normal(3, 4))]),
    *margins("aten.multi_margin_loss.default", multi(1), multi_formula(1), SCORED, "p=1"),
    *margins("aten.multi_margin_loss.default", multi(2), multi_formula(2), SCORED, "p=2"),
    *margins("aten.multi_margin_loss.default", multi(2, True), multi_formula(2, True), SCORED, "weights"),
    *margins("aten.multilabel_margin_loss_forward.default", multilabel, multilabel_formula, [apart(3, 5)]),
    Row("aten._ctc_loss.Tensor", ctc(), [SCORES], explicit=ctc_formula),
    Row("aten._ctc_loss.Tensor", ctc(flat=True), [SCORES], "joined targets", explicit=ctc_formula),
    Row("aten._ctc_loss.default", ctc(lists=True), [SCORES], explicit=ctc_formula),
    Row("aten._ctc_loss.Tensor", impossible, [SCORES], "an impossible target", explicit=impossible_formula),
]
