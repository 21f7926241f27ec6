"""What a run costs, in gradients and in seconds, its tuning included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from curvestep.bench.record import RunRecord

#: Products of a forward, a gradient and a measurement: the tangent pass does two or three, the more is counted.
_FORWARD, _GRADIENT, _TANGENT = 1, 3, 3
#: Share of a batch that Auto measures.
_AUTO_SHARE = 0.25
# Of torch's own optimizers and their schedules a step is one gradient.
_PLAIN = ("sgd", "rmsprop", "adamw", "sgd-momentum", "adam-momentum", "sgd-robbins-monro")


@final
@dataclass(frozen=True)
class Cost:
    """A cost.

    Args:
        gradients: gradients of a batch, or as much work.
        seconds: of training steps.
    """

    gradients: float
    seconds: float


def step_gradients(run: RunRecord) -> float:
    """A step of a run in gradients.

    Args:
        run: which.

    Returns:
        Forward products over the three of a gradient: 1 for torch's own optimizers, 2 for a gradient and a tangent
        pass, 2 for the two gradients of Step-Tuned SGD, and for Auto 1 and what its samples show of measurements.
    """
    method = run.config.method
    if method in _PLAIN:
        return 1.0
    if method == "step-tuned":
        return 2.0
    if method == "auto":
        curvature = run.samples.curvature
        measured = sum(value is not None for value in curvature) / max(len(curvature), 1)
        return 1.0 + measured * _AUTO_SHARE * _TANGENT / _GRADIENT
    return (_GRADIENT + _TANGENT) / _GRADIENT


def cost(runs: Sequence[RunRecord]) -> Cost:
    """The cost of some runs together.

    Args:
        runs: which; a diverged one counts as far as it came.

    Returns:
        Their sum.
    """
    gradients, seconds = [0.0], [0.0]
    for run in runs:
        steps = run.samples.step[-1] if run.samples.step else 0
        gradients.append(steps * step_gradients(run))
        seconds.append(run.samples.seconds[-1] if run.samples.seconds else 0.0)
    return Cost(math.fsum(gradients), math.fsum(seconds))
