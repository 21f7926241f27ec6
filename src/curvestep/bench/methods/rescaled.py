"""curvestep's own methods: no learning rate, only a schedule of ℓ that is part of the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import curvestep
from curvestep.bench.methods.method import BuildRequest, Built, Method

# How ℓ goes: "red" halves it over the epochs, "ran" cycles through 1, ½ and 2; "linear" and "geometric" take it from 1
# to 0.05 over the steps, along a line or by the same factor at each; "constant" leaves it.
_Course = Literal["red", "ran", "linear", "geometric", "constant"]
_MOMENTUM = 0.9


def _method(name: str, description: str, optimizer: str, course: _Course, **options: Any) -> Method:
    """A rescaled optimizer with a course of ℓ."""

    def build(request: BuildRequest) -> Built:
        make: Callable[..., Any] = getattr(curvestep, optimizer)
        made = make(request.parameters, weight_decay=request.weight_decay, **options)
        return _scheduled(made, course, request)

    return Method(name, description, False, build)


def _scheduled(optimizer: Any, course: _Course, request: BuildRequest) -> Built:
    """The optimizer with its course of ℓ."""
    schedules = curvestep.schedules
    if course == "red":
        return Built(optimizer, optimizer, epoch_scheduler=schedules.red(optimizer, request.epochs))
    if course == "ran":
        return Built(optimizer, optimizer, epoch_scheduler=schedules.ran(optimizer))
    if course == "constant":
        return Built(optimizer, optimizer)
    fall = schedules.linear if course == "linear" else schedules.exponential
    return Built(optimizer, optimizer, step_scheduler=fall(optimizer, request.steps, start=1.0, end=0.05))


RED_SGD = _method("red-sgd", "gradient, curvature rescaling, ℓ from 1 to ½ over the epochs", "RescaledSGD", "red")
RED_RMSPROP = _method("red-rmsprop", "RMSprop direction, curvature rescaling, ℓ from 1 to ½", "RescaledRMSprop", "red")
RED_ADAM = _method(
    "red-adam", "Adam direction, curvature rescaling, ℓ from 1 to 0.05 along a line", "RescaledAdam", "linear"
)
RED_ADAM_GEOMETRIC = _method(
    "red-adam-geometric", "red-adam with ℓ from 1 to 0.05 by the same factor a step", "RescaledAdam", "geometric"
)
RAN_SGD = _method("ran-sgd", "gradient, curvature rescaling, ℓ in cycles of 1, ½ and 2", "RescaledSGD", "ran")
# ℓ starts at 1 − β₁.
RED_SGD_MOMENTUM = _method(
    "red-sgd-momentum",
    "gradient with momentum 0.9, curvature rescaling, ℓ from 0.1 to 0.05",
    "RescaledSGD",
    "red",
    lr=1.0 - _MOMENTUM,
    momentum=_MOMENTUM,
)
RED_ADAM_GUARD = _method(
    "red-adam-guard", "red-adam, each step held to equation (9)", "RescaledAdam", "linear", guard_every=1
)
RED_SGD_GGN = _method(
    "red-sgd-ggn", "red-sgd with the Gauss-Newton form of the curvature", "RescaledSGD", "red", curvature_kind="ggn"
)
RED_ADAM_GGN = _method(
    "red-adam-ggn",
    "red-adam with the Gauss-Newton form of the curvature",
    "RescaledAdam",
    "linear",
    curvature_kind="ggn",
)
RED_ADAM_SMOOTHED = _method(
    "red-adam-smoothed", "red-adam with the slope averaged over the steps", "RescaledAdam", "linear", slope="smoothed"
)
HALF_ADAM = _method(
    "half-adam", "Adam direction, curvature rescaling, ℓ = ½ throughout", "RescaledAdam", "constant", lr=0.5
)
HALF_ADAM_GUARD = _method(
    "half-adam-guard", "half-adam, each step held to equation (9)", "RescaledAdam", "constant", lr=0.5, guard_every=1
)
