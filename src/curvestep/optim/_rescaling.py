"""The step rule that the rescaled optimizers share, from the options of a group."""

from __future__ import annotations

import math
from typing import Any

from curvestep.steprules import CurvatureRescaling, Guard, Lazy, Slope, StepRule

#: The options that describe the rule; they are the same in every group.
RULE_OPTIONS = (
    "beta3",
    "max_relative_step",
    "floor",
    "band",
    "guard",
    "curvature",
    "curvature_samples",
    "curvature_every",
    "curvature_precision",
    "averaging",
)


def rescaling_rule(group: dict[str, Any], slope: Slope) -> StepRule:
    """Return Algorithm 1 with the options of a group, under a guard and lazily where the group asks for it."""
    rule = CurvatureRescaling(
        beta3=group["beta3"],
        slope=slope,
        max_relative_step=group["max_relative_step"],
        floor=group["floor"],
        band=group["band"],
    )
    if math.isinf(group["max_relative_step"]):
        msg = (
            "max_relative_step is all that limits the step where the curvature vanishes, and must be finite, but "
            f"max_relative_step={group['max_relative_step']!r} was given."
        )
        raise ValueError(msg)
    every = group["guard"]
    if not (isinstance(every, int) and not isinstance(every, bool) and every >= 0):
        msg = (
            "guard is the number of steps that share one look at the loss where the step would end, 0 for none, and "
            f"must be a whole number, but guard={every!r} was given."
        )
        raise ValueError(msg)
    guarded = rule if every == 0 else Guard(rule, every)
    return guarded if group["curvature_every"] == 1 else Lazy(guarded, group["curvature_every"])
