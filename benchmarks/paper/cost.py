"""What a run costs, in gradients and in seconds, its tuning included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from curvestep.bench.record import RunRecord

#: Products of a gradient and of a measurement, a forward being one: the tangent pass does two or three, the more is
#: counted.
_GRADIENT, _TANGENT = 3, 3
#: What Auto does at a window's end beside a gradient: a tangent pass, with the forward once more, and two forwards.
_WINDOW = (3 + 1) + 2


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


def gradients(run: RunRecord) -> tuple[float, ...]:
    """What a run has spent after each epoch, in gradients.

    Args:
        run: which.

    Returns:
        A number an epoch: a gradient is three products of a forward, a measurement three more, as often as it was
        made; a step of Step-Tuned SGD is two gradients, a batch on which Auto ends a window 1 + 9/3.
    """
    from curvestep.steprules import Windows

    found: list[float] = []
    spent, before = 0.0, 0
    for epoch in run.epochs:
        spent += (epoch.step - before) * _step(run, epoch.measured_share or 0.0)
        if run.config.method == "auto":
            spent += (Windows().ends_within(epoch.step) - Windows().ends_within(before)) * _WINDOW / _GRADIENT
        before = epoch.step
        found.append(spent)
    return tuple(found)


def _step(run: RunRecord, share: float) -> float:
    """A step in gradients, where this share of the steps is measured."""
    return 2.0 if run.config.method == "step-tuned" else 1.0 + share * _TANGENT / _GRADIENT


def cost(runs: Sequence[RunRecord]) -> Cost:
    """The cost of some runs together.

    Args:
        runs: which; a diverged one counts as far as it came.

    Returns:
        Their sum.
    """
    spent, seconds = [0.0], [0.0]
    for run in runs:
        done = run.epochs[-1].step if run.epochs else 0
        # The steps of an epoch that a divergence ended are counted as measured, where the method measures at all.
        rest = (run.samples.step[-1] if run.samples.step else 0) - done
        measures = any(value is not None for value in run.samples.curvature)
        spent += [*gradients(run)[-1:], rest * _step(run, float(measures))]
        seconds.append(run.samples.seconds[-1] if run.samples.seconds else 0.0)
    return Cost(math.fsum(spent), math.fsum(seconds))
