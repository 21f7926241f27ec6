"""What the rescaled optimizers share: the step rule of Algorithm 1, and a warning about ℓ taken for a rate."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Sequence
from typing import Any

from curvestep._warn import warn
from curvestep.optim._average import AVERAGING
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._options import BETA3, EVERY, KIND, PRECISION, SAMPLES
from curvestep.steprules import CurvatureRescaling, Guard, Lazy, Slope, StepRule

#: Name in every parameter group: the loss at the end of the step is measured on every so many steps.
GUARD_EVERY = "guard_every"
_RULE_OPTIONS = (
    BETA3, "max_relative_step", "floor", "band", "slope", GUARD_EVERY, KIND, SAMPLES, EVERY, PRECISION, AVERAGING,
)  # fmt: skip

_LEAST_LEVEL = 0.01
_LEVEL_IS_NO_RATE = (
    "{name} was given lr={lr!r}, but its lr is a level ℓ without unit, not a learning rate: ½ steps to the minimum of "
    "the measured parabola, 1 to its far side, and {lr!r} covers {share:.2g} % of the way to the minimum. Leave lr "
    "out, or choose ℓ between 0.05 and 1."
)


class AbstractRescaledOptimizer(AbstractComposedOptimizer, ABC):
    """Base class of the optimizers whose step size is that of Algorithm 1; a subclass names its direction."""

    #: How a negative slope is treated, for directions that always descend; None: as the group's option says.
    _slope: Slope | None = None

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return Algorithm 1 with the options of the groups, guarded or lazy where the options say so."""
        group = groups[0]
        cap = group.get("max_relative_step", 10.0)
        rule = CurvatureRescaling(
            beta3=group.get(BETA3, 0.9),
            slope=self._slope_of(groups),
            max_relative_step=cap,
            floor=group.get("floor", 0.0),
            band=group.get("band"),
        )
        if math.isinf(cap):
            msg = (
                "max_relative_step is all that limits the step where the curvature vanishes, and must be finite, but "
                f"max_relative_step={cap!r} was given."
            )
            raise ValueError(msg)
        every = group.get(GUARD_EVERY, 0)
        if not (isinstance(every, int) and not isinstance(every, bool) and every >= 0):
            msg = (
                f"{GUARD_EVERY} says on every how many steps the loss at the end of the step is measured, 0 for never, "
                f"and must be a whole number of at least 0, but {GUARD_EVERY}={every!r} was given."
            )
            raise ValueError(msg)
        guarded = rule if every == 0 else Guard(rule, every)
        interval = group.get(EVERY, 1)
        return guarded if interval == 1 else Lazy(guarded, interval)

    def _slope_of(self, groups: Sequence[dict[str, Any]]) -> Slope:
        """Return how a negative slope is treated."""
        return groups[0].get("slope", "absolute") if self._slope is None else self._slope

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """The options of Algorithm 1 and of its measurement."""
        return _RULE_OPTIONS

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse options that are out of range; warn of a level that was meant as a learning rate."""
        super()._check_options(options)
        lr = options["lr"]
        if 0.0 < lr < _LEAST_LEVEL:
            warn(_LEVEL_IS_NO_RATE.format(name=type(self).__name__, lr=lr, share=200.0 * lr))
