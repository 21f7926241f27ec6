"""Auto against a naive float64 version of its formulas, written from its docstring alone."""

from __future__ import annotations

import math

import torch

import curvestep


def test_it_is_its_formulas_over_a_hundred_steps() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    start = 0.02 * draw(3, 2)
    batches = [(draw(10, 3), draw(10, 2)) for _ in range(100)]

    def sample_losses(weight: torch.Tensor, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return ((torch.sin(300.0 * batch[0] @ weight) - batch[1]) ** 2).mean(dim=1)

    theta = start.clone().requires_grad_()
    optimizer = curvestep.Auto([theta])

    weight, mean = start.clone(), start.clone()
    m, v, average, count, last = torch.zeros_like(start), torch.zeros_like(start), 0.0, 0, -1
    measured = 0
    decided = {"ceiling": 0, "curvature": 0}
    for k, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        with optimizer.record():
            sample_losses(theta, batch).mean().backward()
        optimizer.step()

        own = weight.clone().requires_grad_()
        losses = sample_losses(own, batch)
        (g,) = torch.autograd.grad(losses.mean(), own, retain_graph=True)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        d = m / (1 - 0.9**k) / ((v / (1 - 0.99**k)).sqrt() + 1e-8)
        c = average / (1 - 0.8**count) if count else 0.0  # between measurements the average stands in for one
        if k - 1 - last >= min(16, 1 + (k - 1) // 10):  # ever fewer steps
            last = k - 1
            curvatures = []
            spread = [s for s in range(10) if (s + 1 + measured) * 3 // 10 > (s + measured) * 3 // 10]
            measured += 1
            for loss in losses[spread]:  # a quarter of ten samples, rounded up: another one at each measurement
                (first,) = torch.autograd.grad(loss, own, create_graph=True, retain_graph=True)
                (second,) = torch.autograd.grad((first * d).sum(), own, retain_graph=True)
                curvatures.append(abs(float((second * d).sum())))
            c = sum(curvatures) / 3 / float((d * d).sum())
        average, count = 0.8 * average + 0.2 * c, count + 1
        lipschitz = max(average / (1 - 0.8**count), c)
        parabola = 0.5 * 2 * abs(float((g * d).sum())) / (float((d * d).sum()) * lipschitz)
        ceiling = 0.006 * min(k / 100, math.sqrt(100 / k))
        decided["curvature" if parabola < ceiling else "ceiling"] += 1
        weight = weight - min(parabola, ceiling) * d
        mean = mean + 9 / (k + 8) * (weight - mean)

    assert min(decided.values()) >= 3, "both bounds are met"
    # Both take other ways to the curvature, and a surface this sharp lets roundings of 1e-17 grow a millionfold.
    torch.testing.assert_close(theta.detach(), weight, rtol=1e-7, atol=1e-9)
    with optimizer.averaged():
        torch.testing.assert_close(theta.detach(), mean, rtol=1e-7, atol=1e-9)
