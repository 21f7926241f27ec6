"""Faults found in training loops that are the recording's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, directions, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def _swish(h: Tensor) -> Tensor:
    return h * torch.sigmoid(h)


@FINDINGS.row("loops F2", must_answer=True)
def a_scripted_activation_called_again() -> Iterator[Claim]:
    swish = torch.jit.script(_swish)
    first, last, x = nn.Linear(3, 4), nn.Linear(4, 2), torch.randn(5, 3)
    params = [*first.parameters(), *last.parameters()]
    d = directions(params)
    for _ in range(4):  # the profiling executor changes how it runs after the first calls
        with curvestep.record() as tape:
            last(swish(first(x))).exp().mean().backward()
        yield from whole(tape.curvature(params, d), lambda: last(_swish(first(x))).exp().mean(), params, d)


@FINDINGS.row("loops F3", must_answer=True)
def a_penalty_on_a_forward_mode_derivative() -> Iterator[Claim]:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x, o, y = torch.randn(5, 3), torch.randn(5, 3), torch.arange(5) % 2
    params = list(net.parameters())
    d = directions(params)

    def loss() -> Tensor:
        out, tangent = torch.func.jvp(net, (x,), (o,))[:2]
        return F.cross_entropy(out, y) + 3 * tangent.pow(2).mean()

    with curvestep.record() as tape:
        loss().backward()
    yield from whole(tape.curvature(params, d), loss, params, d)


@FINDINGS.row("loops F3", must_answer=True)
def a_loss_of_the_forward_mode_derivative_alone() -> Iterator[Claim]:
    w, x, o = torch.randn(3, 2, requires_grad=True), torch.randn(5, 3), torch.randn(5, 3)
    d = directions([w])

    def loss() -> Tensor:
        with torch.autograd.forward_ad.dual_level():
            z = torch.autograd.forward_ad.make_dual(x, o)
            tangent = torch.autograd.forward_ad.unpack_dual(torch.tanh(z @ w)).tangent
        assert tangent is not None
        return tangent.pow(2).mean()

    with curvestep.record() as tape:
        loss().backward()
    yield from whole(tape.curvature([w], d), loss, [w], d)


@FINDINGS.row("loops F10")
def two_losses_in_one_backward_of_alig() -> Iterator[Claim]:
    a = torch.tensor([3.0], requires_grad=True)
    optimizer = curvestep.ALIG([a], cap=None)
    with optimizer.record():
        torch.autograd.backward([(a**2).sum(), (2 * a**2).sum()])
    optimizer.step()
    assert optimizer.last_step is not None
    yield Claim("loss", optimizer.last_step.loss, 27.0)


def _detached(touch: Callable[[Tensor], Tensor]) -> Iterator[Claim]:
    """A tensor with a graph of its own comes in and is detached inside: it is a constant of the loss."""
    w, x = torch.randn(3, requires_grad=True), torch.randn(4, 3)
    before = torch.tanh(x * w)

    def loss() -> Tensor:
        return (touch(before) + x * w).exp().mean()

    d = directions([w])
    with curvestep.record() as tape:
        loss().backward()
    yield from whole(tape.curvature([w], d), loss, [w], d)


@FINDINGS.row("loops F13", must_answer=True)
def a_state_from_outside_detached_inside() -> Iterator[Claim]:
    return _detached(lambda h: h.detach())


@FINDINGS.row("loops F13", must_answer=True)
def an_old_loss_read_inside() -> Iterator[Claim]:
    def read(h: Tensor) -> Tensor:
        logged = h.detach().mean()
        return torch.zeros(()) * float(logged)

    return _detached(read)


@FINDINGS.row("loops F14", must_answer=True)
def an_earlier_forward_in_the_same_autocast_block() -> Iterator[Claim]:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).float(), torch.randn(5, 3).float()
    params = list(net.parameters())
    d = directions(params)
    with torch.autocast("cpu", torch.bfloat16):
        net(x)
        with curvestep.record() as tape:
            net(x).float().exp().mean().backward()
    found = tape.curvature(params, d)
    # bfloat16 rounds by 4e-3 an operation, and some tens of roundings add up.
    for claim in whole(found, lambda: net(x).float().exp().mean(), params, d):
        yield Claim(claim.what, claim.given, claim.true, rtol=0.05)
