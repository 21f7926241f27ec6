"""Physics-informed networks: a differential equation is the loss, the error of the solution is held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.feed import dense, generator


def _points(seed: int, size: int) -> Iterator[Batch]:
    order = generator(seed, "order")
    while True:
        yield (torch.rand(size, 1, generator=order),)


def _relative_error(solution: Callable[[nn.Module, Tensor], Tensor], truth: Callable[[Tensor], Tensor]):  # noqa: ANN202
    """Return a function that gives ‖u − u*‖ / ‖u*‖ on a grid."""
    grid = torch.linspace(0.0, 1.0, 401)[:, None]

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            return float((solution(model, grid) - truth(grid)).norm() / truth(grid).norm())

    return evaluate


def poisson(seed: int) -> Instance:
    """−u'' = f on [0, 1] with u = sin 2πx + sin 6πx / 5, a tanh network 1-32-32-1, 64 random points a batch."""
    one, three = 2.0 * torch.pi, 6.0 * torch.pi

    def solution(model: nn.Module, x: Tensor) -> Tensor:
        return x * (1.0 - x) * model(x)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        x = batch[0].clone().requires_grad_()
        (first,) = torch.autograd.grad(solution(model, x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        force = one**2 * torch.sin(one * x) + 0.2 * three**2 * torch.sin(three * x)
        # In units of one², so that the loss starts near 1.
        return (((second + force) / one**2) ** 2).mean()

    model = dense(1, 32, 32, 1, activation=nn.Tanh)
    evaluate = _relative_error(solution, lambda x: torch.sin(one * x) + 0.2 * torch.sin(three * x))
    return Instance(model, _points(seed, 64), loss, evaluate)


def oscillator(seed: int) -> Instance:
    """u'' + 2 u' + 100 u = 0 with u(0) = 1, u'(0) = 0 on [0, 1], a tanh network 1-32-32-1, 64 points a batch."""
    rate = 99.0**0.5

    def solution(model: nn.Module, x: Tensor) -> Tensor:
        return 1.0 + x * x * 10.0 * model(x)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        x = batch[0].clone().requires_grad_()
        u = solution(model, x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        return (((second + 2.0 * first + 100.0 * u) / 100.0) ** 2).mean()

    model = dense(1, 32, 32, 1, activation=nn.Tanh)
    truth = lambda x: torch.exp(-x) * (torch.cos(rate * x) + torch.sin(rate * x) / rate)  # noqa: E731
    return Instance(model, _points(seed, 64), loss, _relative_error(solution, truth))


def heat(seed: int) -> Instance:
    """u_t = u_xx / 10 for x and t in [0, 1], start and edges in the loss, a tanh network 2-32-32-1, 64 points a batch.

    Returns:
        The instance.
    """
    rates = ((1.0, 1.0), (0.5, 3.0))

    def truth(x: Tensor, t: Tensor) -> Tensor:
        waves = [a * torch.exp(-((k * torch.pi) ** 2) * t / 10.0) * torch.sin(k * torch.pi * x) for a, k in rates]
        return waves[0] + waves[1]

    def batches() -> Iterator[Batch]:
        order = generator(seed, "order")
        while True:
            x, t = torch.rand(64, 2, generator=order).chunk(2, -1)
            start, late = torch.rand(32, 2, generator=order).chunk(2, -1)
            yield x, t, start, late

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        x, t = (part.clone().requires_grad_() for part in batch[:2])
        start, late = batch[2:]
        u = model(torch.cat([x, t], -1))
        u_x, u_t = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
        (u_xx,) = torch.autograd.grad(u_x.sum(), x, create_graph=True)
        first = model(torch.cat([start, torch.zeros_like(start)], -1)) - truth(start, torch.zeros_like(start))
        edges = [model(torch.cat([torch.full_like(late, side), late], -1)) for side in (0.0, 1.0)]
        return ((u_t - u_xx / 10.0) ** 2).mean() + 10.0 * ((first**2).mean() + sum((edge**2).mean() for edge in edges))

    grid = torch.cartesian_prod(torch.linspace(0.0, 1.0, 41), torch.linspace(0.0, 1.0, 41))
    known = truth(grid[:, :1], grid[:, 1:])

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(grid) - known).norm() / known.norm())

    return Instance(dense(2, 32, 32, 1, activation=nn.Tanh), batches(), loss, evaluate)
