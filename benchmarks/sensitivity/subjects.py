"""The methods whose number is varied, as rows that the training loop of the command line runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

from torch.optim.optimizer import ParamsT

import curvestep
from benchmarks.sensitivity.plan import SubjectName
from curvestep.bench.methods import get_method
from curvestep.bench.methods.method import BuildRequest, Built, Method
from curvestep.directions import Adam, Direction
from curvestep.optim._average import AVERAGING
from curvestep.optim._composed import AbstractComposedOptimizer
from curvestep.optim._options import BETA3, EVERY, SAMPLES
from curvestep.steprules import Ceiling, CurvatureRescaling, Lazy, StepRule

_PEAK = "peak"


@final
class AutoUnderPeak(AbstractComposedOptimizer):
    """`curvestep.Auto` with another peak of its ceiling; everything else is as it is there.

    Args:
        params: what is trained.
        peak: height of the ceiling at its highest, in the unit of Adam's direction, above 0; Auto's own is 0.006.
        weight_decay: λ.
    """

    _announces_whole_batch = False
    _memory = "split"

    def __init__(self, params: ParamsT, peak: float, *, weight_decay: float = 0.0) -> None:
        options = {
            "lr": 0.5,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": 0.0,
            SAMPLES: 0.25,
            EVERY: 16,
            BETA3: 0.8,
            AVERAGING: 8.0,
            _PEAK: peak,
        }
        super().__init__(params, options)

    def _direction(self, group: dict[str, Any]) -> Direction:
        """Return Adam."""
        del group
        return Adam(0.9, 0.99, 1e-8)

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        """Return Auto's rule under this peak."""
        measured = CurvatureRescaling(groups[0][BETA3], slope="absolute", max_relative_step=math.inf)
        return Ceiling(Lazy(measured, groups[0][EVERY]), groups[0][_PEAK], 100, level=0.5)

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """The options that are the same in all groups."""
        return (SAMPLES, EVERY, BETA3, AVERAGING, _PEAK)


def _level(make: Callable[..., Any]) -> Callable[[BuildRequest], Built]:
    """A measured optimizer at a constant ℓ."""

    def build(request: BuildRequest) -> Built:
        optimizer = make(request.parameters, lr=request.given_lr, weight_decay=request.weight_decay)
        return Built(optimizer, optimizer)

    return build


def _auto(request: BuildRequest) -> Built:
    """Auto under another ceiling, with its averaged weights."""
    optimizer = AutoUnderPeak(request.parameters, request.given_lr, weight_decay=request.weight_decay)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


_OWN: dict[str, Callable[[BuildRequest], Built]] = {
    "level-sgd": _level(curvestep.RescaledSGD),
    "level-adam": _level(curvestep.RescaledAdam),
    "lqa": _level(curvestep.LQA),
    "auto": _auto,
}


def method(name: SubjectName) -> Method:
    """The row of a subject: one of these, or the command line's own of the same name."""
    build = _OWN.get(name)
    return get_method(name) if build is None else Method(name, "with a number that is varied", True, build)
