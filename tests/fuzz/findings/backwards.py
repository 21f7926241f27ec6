"""Backwards other than one plain `loss.backward()`, and gradients that a hook changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, derivatives, directions, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def _last(net: nn.Sequential) -> Tensor:
    """The weight of the last layer."""
    return list(net.parameters())[2]


def _net() -> tuple[nn.Sequential, Tensor, Tensor]:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3), torch.randn(5, 2)


def _partial(backward: Callable[[Tensor, nn.Sequential], object], of_all: bool) -> Iterator[Claim]:
    """A backward that reaches some parameters only; the truth is that of the loss."""
    net, x, y = _net()
    params = list(net.parameters()) if of_all else [_last(net)]
    d = directions(params)

    def loss() -> Tensor:
        return F.mse_loss(net(x).exp(), y)

    with curvestep.record() as tape:
        backward(loss(), net)
    yield from whole(tape.curvature(params, d), loss, params, d)


@FINDINGS.row("attack 5")
def backward_with_inputs() -> Iterator[Claim]:
    return _partial(lambda loss, net: loss.backward(inputs=[_last(net)]), of_all=True)


@FINDINGS.row("attack 5")
def backward_with_inputs_measured_along_these() -> Iterator[Claim]:
    return _partial(lambda loss, net: loss.backward(inputs=[_last(net)]), of_all=False)


@FINDINGS.row("attack 5")
def gradient_of_some_parameters() -> Iterator[Claim]:
    return _partial(lambda loss, net: torch.autograd.grad(loss, [_last(net)]), of_all=True)


def _prebuilt(outer: Callable[[Tensor], Tensor], gradient: float | None, thread: bool = False) -> Iterator[Claim]:
    """A backward that is handed its gradient c: the loss is J, or c J as its gradient says."""
    net, x, y = _net()
    params = list(net.parameters())
    d = directions(params)
    seed = None if gradient is None else torch.tensor(gradient)

    def loss() -> Tensor:
        return outer(F.mse_loss(net(x), y))

    with curvestep.record() as tape:
        if thread:
            value = loss()
            worker = threading.Thread(target=lambda: value.backward(seed))
            worker.start()
            worker.join()
        else:
            loss().backward(seed)
    found = tape.curvature(params, d)
    slope, total = derivatives(loss, params, d)
    factors = {1.0, 1.0 if gradient is None else gradient}
    factor = min(factors, key=lambda c: abs(float(found.slope) - c * float(slope)))
    yield Claim("slope", found.slope, factor * slope)
    yield Claim("total", found.total, factor * total)
    yield Claim("loss", tape.loss, loss())


@FINDINGS.row("attack 7")
def prebuilt_gradient_of_a_logarithm() -> Iterator[Claim]:
    return _prebuilt(torch.log, 1.0)


@FINDINGS.row("attack 7")
def prebuilt_gradient_of_a_square() -> Iterator[Claim]:
    return _prebuilt(torch.square, 1.0)


@FINDINGS.row("attack 7")
def prebuilt_gradient_of_two() -> Iterator[Claim]:
    return _prebuilt(torch.log, 2.0)


@FINDINGS.row("attack 7")
def backward_in_another_thread() -> Iterator[Claim]:
    return _prebuilt(torch.log, None, thread=True)


@FINDINGS.row("attack 8")
def two_roots_one_on_the_way_to_the_other() -> Iterator[Claim]:
    net, x, y = _net()
    params = list(net.parameters())
    d = directions(params)

    def roots() -> tuple[Tensor, Tensor]:
        aux = F.mse_loss(net(x), y)
        return aux, (aux * 2).sin() + net(x).exp().mean()

    with curvestep.record() as tape:
        torch.autograd.backward(list(roots()))
    yield from whole(tape.curvature(params, d), lambda: sum(roots(), torch.zeros(())), params, d)


@FINDINGS.row("attack 8")
def a_hidden_root_with_a_gradient_of_its_own() -> Iterator[Claim]:
    net, x, y = _net()
    params = list(net.parameters())
    d = directions(params)
    g = torch.randn(5, 2)

    def roots() -> tuple[Tensor, Tensor]:
        h = net(x).tanh()
        return h, F.mse_loss(h, y)

    def loss() -> Tensor:
        h, last = roots()
        return (h * g).sum() + last

    with curvestep.record() as tape:
        torch.autograd.backward(list(roots()), [g, None])  # pyright: ignore[reportArgumentType]
    yield from whole(tape.curvature(params, d), loss, params, d)


def _hooked(hook: Callable[[nn.Sequential, Tensor], Tensor]) -> Iterator[Claim]:
    """A hook changes a gradient; curvature and slope are those of the loss itself."""
    net, x, y = _net()
    middle = nn.Linear(4, 4)
    params = [*net.parameters(), *middle.parameters()]
    d = directions(params)

    def loss(change: Callable[[nn.Sequential, Tensor], Tensor] | None = None) -> Tensor:
        h = middle(net[1](net[0](x)))
        if change is not None:
            h = change(net, h)
        return F.mse_loss(net[2](h.tanh()).exp(), y)

    with curvestep.record() as tape:
        loss(hook).backward()
    yield from whole(tape.curvature(params, d), loss, params, d)


def _scaled(factor: float) -> Callable[[nn.Sequential, Tensor], Tensor]:
    def attach(net: nn.Sequential, h: Tensor) -> Tensor:
        h.register_hook(lambda g: factor * g)
        return h

    return attach


@FINDINGS.row("attack 9")
def tensor_hook_scales_the_gradient() -> Iterator[Claim]:
    return _hooked(_scaled(-0.1))


@FINDINGS.row("attack 9")
def tensor_hook_reverses_the_gradient() -> Iterator[Claim]:
    return _hooked(_scaled(-1.0))


@FINDINGS.row("attack 9")
def module_hook_changes_the_gradient() -> Iterator[Claim]:
    net, x, y = _net()
    params = list(net.parameters())
    d = directions(params)

    def change(module: nn.Module, grads: Any, outputs: Any) -> Any:
        return tuple(0.5 * g for g in grads)

    handle = net[2].register_full_backward_hook(change)
    with curvestep.record() as tape:
        F.mse_loss(net(x).exp(), y).backward()
    handle.remove()
    yield from whole(tape.curvature(params, d), lambda: F.mse_loss(net(x).exp(), y), params, d)


@FINDINGS.row("attack 32")
def a_leaf_made_inside_by_detach() -> Iterator[Claim]:
    W, x = torch.randn(3, 2, requires_grad=True), torch.randn(4, 3)
    with curvestep.record() as tape:
        leaf = W.detach().requires_grad_()
        (x @ leaf).exp().mean().backward()
    d = directions([leaf])
    yield from whole(tape.curvature([leaf], d), lambda: (x @ leaf).exp().mean(), [leaf], d)


@FINDINGS.row("attack 19")
def embedding_scaled_by_frequency() -> Iterator[Claim]:
    E, i = torch.randn(6, 3, requires_grad=True), torch.tensor([0, 2, 2, 5])
    d = directions([E])

    def loss(scaled: bool = False) -> Tensor:
        return F.embedding(i, E, scale_grad_by_freq=scaled).pow(3).sum(1).mean()

    with curvestep.record() as tape:
        loss(True).backward()
    yield from whole(tape.curvature([E], d), loss, [E], d)
    slope, total = derivatives(loss, [E], d)
    product = tape.hvp([E], d)[0]
    yield Claim("dᵀ hvp", (product * d[0]).sum(), total)


@FINDINGS.row("attack 22")
def a_parameter_twice_in_the_list() -> Iterator[Claim]:
    w, x = torch.randn(3, requires_grad=True), torch.randn(4, 3)
    first, second = directions([w, w])

    def loss() -> Tensor:
        return (x * w).exp().sum(1).mean()

    with curvestep.record() as tape:
        loss().backward()
    yield from whole(tape.curvature([w, w], [first, second]), loss, [w], [first + second])
