"""Overshoot: the curvature at the start of a step says nothing of the end, and what looking there is good for.

The rules are called with probes whose loss, slope and curvature are written out, so that every look can be counted; on
the quadratic the optimizers themselves run beside each other.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import final

import torch

import curvestep
from benchmarks.regimes.plan import GRADIENT_NORM, SURFACE_STEPS, OvershootCase, Surface
from benchmarks.regimes.row import CONVERGED, DIVERGED, FINISHED, RegimeRow
from curvestep._probe import LineSample, Probe
from curvestep.bench.environment import revision
from curvestep.steprules import CurvatureRescaling, Guard, LineRequest

Point = tuple[float, ...]
_ELL = 0.5
_QUADRATIC_STEPS = 200
_KEPT = 60
# A loss of this size comes back no more.
_LOST = 1e100


@final
@dataclass(frozen=True)
class Derivatives:
    """A function of a few numbers.

    Args:
        start: where a run begins.
        loss: J(θ).
        gradient: ∇J(θ).
        curvature: dᵀ∇²J(θ) d from θ and d.
    """

    start: Point
    loss: Callable[[Point], float]
    gradient: Callable[[Point], Point]
    curvature: Callable[[Point, Point], float]


def _root_curvature(theta: Point, d: Point) -> float:
    root = math.hypot(1.0, theta[0])
    return d[0] * d[0] / (root * root * root)  # a product that overflows is infinite, a power would raise


def _rosenbrock(theta: Point) -> float:
    x, y = theta
    return (1.0 - x) * (1.0 - x) + 100.0 * (y - x * x) * (y - x * x)


def _rosenbrock_gradient(theta: Point) -> Point:
    x, y = theta
    return (-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x))


def _rosenbrock_curvature(theta: Point, d: Point) -> float:
    x, y = theta
    return (2.0 - 400.0 * (y - 3.0 * x * x)) * d[0] * d[0] - 800.0 * x * d[0] * d[1] + 200.0 * d[1] * d[1]


ROOT = Derivatives(
    (1000.0,),
    lambda theta: math.hypot(1.0, theta[0]),
    lambda theta: (theta[0] / math.hypot(1.0, theta[0]),),
    _root_curvature,
)
ROSENBROCK = Derivatives(
    (-1.2, 1.0),
    _rosenbrock,
    _rosenbrock_gradient,
    _rosenbrock_curvature,
)
#: ½ Σ h θ² with h from 1 to 100.
SCALES: Point = (1.0, 3.0, 10.0, 30.0, 100.0)
QUADRATIC = Derivatives(
    (1.0, -2.0, 3.0, -4.0, 5.0),
    lambda theta: 0.5 * sum(h * x * x for h, x in zip(SCALES, theta, strict=True)),
    lambda theta: tuple(h * x for h, x in zip(SCALES, theta, strict=True)),
    lambda theta, d: sum(h * x * x for h, x in zip(SCALES, d, strict=True)),
)
SURFACES: dict[Surface, Derivatives] = {"root": ROOT, "rosenbrock": ROSENBROCK, "quadratic": QUADRATIC}


@final
@dataclass(frozen=True)
class Descent:
    """Where a run on a surface went.

    Args:
        path: θ before the first step, and after each.
        losses: before the first step, and after each.
        gradient_norm: at the end.
        looks: how often a loss was looked at.
        outcomes: how often a step ended in each way.
    """

    path: tuple[Point, ...]
    losses: tuple[float, ...]
    gradient_norm: float
    looks: int
    outcomes: dict[str, int]


def descend(surface: Derivatives, guard: int, ell: float = _ELL, steps: int = SURFACE_STEPS) -> Descent:
    """Follow the gradient with the rule of `curvestep.RescaledSGD`.

    Args:
        surface: what is descended.
        guard: as the optimizer's.
        ell: ℓ.
        steps: at most so many.

    Returns:
        The run; it ends where the gradient is short, or the loss above 10¹⁰⁰.
    """
    rescaling = CurvatureRescaling()
    rule = rescaling if guard == 0 else Guard(rescaling, guard)
    theta, state, looks, outcomes = surface.start, rule.init(), 0, Counter[str]()
    path, losses = [theta], [surface.loss(theta)]
    gradient = surface.gradient(theta)
    while len(losses) <= steps and losses[-1] < _LOST and math.hypot(*gradient) >= GRADIENT_NORM:
        length_sq = sum(x * x for x in gradient)
        curvature = surface.curvature(theta, gradient)
        norm_sq = sum(x * x for x in theta)
        probe = Probe(losses[-1], length_sq, curvature, abs(curvature), length_sq, norm_sq)
        choice = rule.choose(probe, ell, state)
        while isinstance(choice, LineRequest):
            looks += len(choice.steps)
            ends = tuple(LineSample(t, surface.loss(_moved(theta, gradient, t))) for t in choice.steps)
            probe = replace(probe, line=probe.line + ends)
            choice = rule.choose(probe, ell, state)
        outcomes[choice.outcome.name] += 1
        state = choice.state
        theta = _moved(theta, gradient, ell * choice.rescaling)
        path.append(theta)
        losses.append(surface.loss(theta))
        gradient = surface.gradient(theta)
    return Descent(tuple(path), tuple(losses), math.hypot(*gradient), looks, dict(outcomes))


def run_overshoot(case: OvershootCase) -> RegimeRow:
    """Make one run.

    Args:
        case: which.

    Returns:
        Its row. `numbers` has the norm of the gradient at the end, how far from the start the run went at most, the
        looks at the loss, and on the quadratic how many of the optimizer's steps equal those without a guard bit for
        bit.
    """
    begun = time.perf_counter()
    surface = SURFACES[case.surface]
    found = descend(surface, case.guard)
    steps = len(found.losses) - 1
    finite = [loss for loss in found.losses if math.isfinite(loss)]
    numbers: dict[str, float | None] = {
        "gradient_norm": found.gradient_norm,
        "farthest": max(math.hypot(*theta) for theta in found.path),
        "looks": float(found.looks),
    }
    if case.surface == "quadratic" and case.guard:
        numbers["equal_steps"] = float(_equal_steps(case.guard))
        numbers["compared_steps"] = float(_QUADRATIC_STEPS)
    if not found.losses[-1] < _LOST:
        ended = DIVERGED
    else:
        ended = CONVERGED if found.gradient_norm < GRADIENT_NORM else FINISHED
    # As many points to a decade of steps, so that the first ones are seen.
    kept = sorted({round(steps ** (i / _KEPT)) for i in range(_KEPT + 1)} | {0})
    return RegimeRow(
        experiment="overshoot",
        case=asdict(case),
        ended=ended,
        steps=steps,
        first=found.losses[0],
        last=found.losses[-1],
        worst=max(finite[1:], default=None),
        numbers=numbers,
        outcomes=found.outcomes,
        curve=[[float(i), found.losses[i]] for i in kept if i <= steps and math.isfinite(found.losses[i])],
        seconds=time.perf_counter() - begun,
        revision=revision(),
    )


def _equal_steps(guard: int) -> int:
    """How many steps of the guarded optimizer in float32 end where those of the unguarded one do, to the last bit."""
    scales = torch.tensor([SCALES]).sqrt()
    points = [torch.tensor(QUADRATIC.start, requires_grad=True) for _ in range(2)]
    optimizers = [
        curvestep.RescaledSGD([points[0]], lr=_ELL),
        curvestep.RescaledSGD([points[1]], lr=_ELL, guard_every=guard),
    ]
    equal = 0
    for _ in range(_QUADRATIC_STEPS):
        for theta, optimizer in zip(points, optimizers, strict=True):
            optimizer.zero_grad()
            with optimizer.record():
                (0.5 * (theta * scales) ** 2).sum(dim=1).mean().backward()
            optimizer.step()
        equal += torch.equal(points[0], points[1])
    return equal


def _moved(theta: Point, direction: Point, step: float) -> Point:
    """θ − t d."""
    return tuple(x - step * d for x, d in zip(theta, direction, strict=True))
