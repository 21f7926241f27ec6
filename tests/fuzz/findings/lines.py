"""`loss_along` where conditions, indices or detached values depend on the parameters: the program there is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, values_along
from tests.fuzz.findings.finding import Table

FINDINGS = Table()

STEPS = (0.0, 0.3, 1.0)


def _line(make: Callable[[Tensor], Tensor]) -> Iterator[Claim]:
    """The loss of one parameter (4, 3) along a direction that changes signs and orders of its elements."""
    w = torch.randn(4, 3, requires_grad=True)
    d = [-1.7 * w.detach() + 0.3 * torch.randn(4, 3)]

    def loss() -> Tensor:
        return make(w)

    with curvestep.record() as tape:
        loss().backward()
    yield Claim("loss_along", tape.loss_along([w], d, STEPS), values_along(loss, [w], d, STEPS))


@FINDINGS.row("attack 11")
def detached_rounding() -> Iterator[Claim]:
    return _line(lambda w: (w + ((3 * w).round() - 3 * w).detach()).pow(2).sum())


@FINDINGS.row("attack 11")
def a_condition() -> Iterator[Claim]:
    return _line(lambda w: torch.where(w > 0, w.exp(), w.pow(2)).sum())


@FINDINGS.row("attack 11")
def a_mask_as_a_factor() -> Iterator[Claim]:
    return _line(lambda w: (w.exp() * (w > 0)).sum())


@FINDINGS.row("attack 11")
def a_mask_as_an_index() -> Iterator[Claim]:
    return _line(lambda w: w.exp()[w > 0].sum())


@FINDINGS.row("attack 11")
def gathered_by_topk() -> Iterator[Claim]:
    return _line(lambda w: w.exp().gather(1, w.topk(2, dim=1).indices).sum())


@FINDINGS.row("attack 11")
def ordered_by_argsort() -> Iterator[Claim]:
    weights = torch.arange(3.0)
    return _line(lambda w: (w.exp().gather(1, w.argsort(1)) * weights).sum())


@FINDINGS.row("attack 11")
def one_hot_of_argmax() -> Iterator[Claim]:
    return _line(lambda w: (w.exp() * F.one_hot(w.argmax(1), 3)).sum())


@FINDINGS.row("attack 11")
def a_scale_read_by_item() -> Iterator[Claim]:
    return _line(lambda w: (w.exp() * w.abs().max().item()).sum())


@FINDINGS.row("attack 11")
def a_detached_baseline() -> Iterator[Claim]:
    return _line(lambda w: (w.exp() * (w - w.mean().detach())).sum())
