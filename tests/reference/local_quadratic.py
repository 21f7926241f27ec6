"""Local quadratic approximation and GeN's lazy averaging of it, on one flat vector in float64.

Nothing is shared with the library but the choices that the sources leave open and its documentation states: how far the
probes are, and by what one measurement may change the step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Maps θ and the number of a batch to the loss.
Loss = Callable[[Tensor, int], Tensor]


def minimum(loss: Loss, theta: Tensor, d: Tensor, k: int, distance: float) -> tuple[float, float]:
    """Return b and 2a of the parabola ℓ₀ − b δ + a δ² along −d."""
    here, ahead, behind = (float(loss(theta - t * d, k)) for t in (0.0, distance, -distance))
    return (behind - ahead) / (2 * distance), (ahead + behind - 2 * here) / distance**2


def train_lqa(theta: Tensor, loss: Loss, steps: int, first: float, largest: float) -> list[Tensor]:
    """Return θ after every step along the gradient to the minimum of each batch's parabola.

    The probe is as far as the last step was; a step grows by ``largest`` at most, also where the parabola opens down.
    """
    size, trajectory = first, []
    for k in range(steps):
        point = theta.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(point, k), point)
        with torch.no_grad():
            b, twice_a = minimum(loss, theta, g, k, size)
            size = min(b / twice_a, largest * size) if twice_a > 0 else largest * size
            theta = theta - size * g
        trajectory.append(theta)
    return trajectory


def train_gen(theta: Tensor, loss: Loss, steps: int, first: float, every: int, fresh: bool) -> list[Tensor]:
    """Return θ after every step of Adam whose rate is corrected on every ``every``-th step.

    With ``fresh`` it is corrected by the parabola of the last step on the batch after it.
    """
    eta, trajectory = first, []
    m, v, d = torch.zeros_like(theta), torch.zeros_like(theta), torch.zeros_like(theta)
    before = theta
    for k in range(steps):
        point = theta.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(point, k), point)
        last = d
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        d = (m / (1 - 0.9 ** (k + 1))) / ((v / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8)
        with torch.no_grad():
            if k % every == 0 and not (fresh and k == 0):
                b, twice_a = minimum(loss, before, last, k, eta) if fresh else minimum(loss, theta, d, k, eta)
                if twice_a > 0 and b > 0:
                    eta = 0.9 * eta + 0.1 * min(max(b / twice_a, eta / 2), 2 * eta)
            before, theta = theta, theta - eta * d
        trajectory.append(theta)
    return trajectory
