"""Programs that are valid and were refused: here only an answer is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, directions, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def _answered(
    loss: Callable[[], Tensor], params: list[Tensor], memory: str = "keep", batch_size: int | None = None
) -> Iterator[Claim]:
    d = directions(params)
    with curvestep.record(batch_size=batch_size, memory=memory) as tape:  # pyright: ignore[reportArgumentType]
        loss().backward()
    yield from whole(tape.curvature(params, d), loss, params, d)


@FINDINGS.row("attack 21", must_answer=True)
def a_full_batch_drawn_by_a_permutation_inside() -> Iterator[Claim]:
    x, y, net = torch.randn(32, 3), torch.randn(32, 1), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def loss() -> Tensor:
        i = torch.randperm(32)
        return F.mse_loss(net(x[i]), y[i])

    return _answered(loss, list(net.parameters()), batch_size=32)


@FINDINGS.row("attack 31", must_answer=True)
def elements_assigned_under_split() -> Iterator[Claim]:
    w, x = torch.randn(3, requires_grad=True), torch.randn(4, 3)

    def loss() -> Tensor:
        a, b = torch.tanh(x * w).pow(2).mean(), (x * w).exp().mean()
        pair = torch.zeros(2)
        pair[0] = a
        pair[1] = b
        return pair.pow(2).sum()

    return _answered(loss, [w], memory="split")


@FINDINGS.row("attack 31", must_answer=True)
def a_sine_doubled_in_place_under_split() -> Iterator[Claim]:
    w, x = torch.randn(3, requires_grad=True), torch.randn(4, 3)
    return _answered(lambda: torch.sin(x * w).mul_(2).exp().mean(), [w], memory="split")


@FINDINGS.row("attack 31", must_answer=True)
def gaussian_nll_loss() -> Iterator[Claim]:
    w, x, y = torch.randn(3, requires_grad=True), torch.randn(4, 3), torch.randn(4, 3)
    return _answered(lambda: F.gaussian_nll_loss(x * w, y, (x + w).exp()), [w])


@FINDINGS.row("attack 31", must_answer=True)
def a_sparse_matrix_times_a_dense_one() -> Iterator[Claim]:
    W, x = torch.randn(3, 2, requires_grad=True), torch.randn(4, 3)
    sparse = (x * (x > 0)).to_sparse_coo()
    return _answered(lambda: torch.sparse.mm(sparse, W).exp().mean(), [W])
