"""Points where a formula is 0/0 or ∞ − ∞ although the loss and its gradient are finite."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, directions, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


@FINDINGS.row("attack 30")
def a_saturated_sigmoid_before_bce_loss() -> Iterator[Claim]:
    w = torch.tensor([200.0, 0.3], dtype=torch.float32, requires_grad=True)
    y = torch.tensor([0.0, 1.0])
    d = [torch.ones(2, dtype=torch.float32)]
    with curvestep.record() as tape:
        F.binary_cross_entropy(torch.sigmoid(w), y.float()).backward()
    found = tape.curvature([w], d)
    # The saturated entry is constant in float32; of the other the curvature is σ(1 − σ), halved by the mean.
    sigma = torch.sigmoid(torch.tensor(0.3))
    yield Claim("total", found.total, 0.5 * sigma * (1 - sigma), rtol=1e-6)  # float32 rounds at 6e-8 an operation


@FINDINGS.row("attack 30")
def a_dead_unit_to_the_powers_0_1_2() -> Iterator[Claim]:
    w, x = torch.tensor([-1.0, -1.0, 1.0], requires_grad=True), torch.rand(4, 3)
    # relu(−)^0 is 1 and relu(−)^1 is 0 near this point, whatever the formula for x^p says at 0.
    d = directions([w])
    with curvestep.record() as tape:
        (torch.relu(x * w) ** torch.arange(3.0)).sum(1).mean().backward()
    found = tape.curvature([w], d)
    yield Claim("total", found.total, (2 * (x * d[0])[:, 2] ** 2).mean())


@FINDINGS.row("attack 30")
def the_deviation_of_a_dead_unit() -> Iterator[Claim]:
    w, x = torch.tensor([-1.0, 1.0], requires_grad=True), torch.rand(4, 2)
    # The first column is 0 near this point, and so is its deviation.
    d = directions([w])

    def loss() -> Tensor:
        return (torch.relu(x * w).std(0) * torch.tensor([0.0, 1.0])).sum() + w.exp().sum()

    with curvestep.record() as tape:
        loss().backward()
    found = tape.curvature([w], d)
    yield Claim("total", found.total, (w.exp() * d[0] ** 2).sum())


@FINDINGS.row("attack 30")
def the_norm_at_zero() -> Iterator[Claim]:
    w = torch.zeros(3, requires_grad=True)
    d = directions([w])
    with curvestep.record() as tape:
        (w.norm() + w.exp().sum()).backward()
    # A kink has no second derivative; what is answered all the same is one function.
    yield Claim("dᵀ hvp is the total", (tape.hvp([w], d)[0] * d[0]).sum(), tape.curvature([w], d).total)


@FINDINGS.row("attack 31")
def zero_to_a_learned_power() -> Iterator[Claim]:
    w = torch.tensor([1.5, 2.0], requires_grad=True)
    d = directions([w])
    with curvestep.record() as tape:
        ((0.0**w).sum() + w.exp().sum()).backward()
    yield from whole(tape.curvature([w], d), lambda: w.exp().sum(), [w], d)  # 0^w is 0 near this point


@FINDINGS.row("attack 31")
def the_determinant_of_a_singular_matrix() -> Iterator[Claim]:
    A = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]], requires_grad=True)
    d = directions([A])
    with curvestep.record() as tape:
        torch.linalg.det(A).backward()
    found = tape.curvature([A], d)
    # det is a cubic polynomial: central differences of step 1 are exact for its second derivative.
    with torch.no_grad():
        ahead, here, behind = (torch.linalg.det(A + t * d[0]) for t in (1.0, 0.0, -1.0))
    yield Claim("total", found.total, ahead - 2 * here + behind)
    # That of its first derivative carries the third one, which the second step cancels (Richardson).
    with torch.no_grad():
        near = (torch.linalg.det(A + 0.5 * d[0]) - torch.linalg.det(A - 0.5 * d[0])) / 1.0
    yield Claim("slope", found.slope, (4 * near - (ahead - behind) / 2) / 3)


@FINDINGS.row("attack 31")
def a_matrix_that_is_zero_in_a_determinant() -> Iterator[Claim]:
    w, x = torch.zeros(2, 2, requires_grad=True), torch.eye(2)
    d = directions([w])
    with curvestep.record() as tape:
        (torch.linalg.det(x * w) + w.exp().sum()).backward()
    yield from whole(tape.curvature([w], d), lambda: w[0, 0] * w[1, 1] + w.exp().sum(), [w], d)
