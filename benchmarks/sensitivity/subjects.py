"""The methods whose number is varied, as rows that the training loop of the command line runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import curvestep
from benchmarks.league.methods.varied import VariedAuto
from benchmarks.sensitivity.plan import SubjectName
from curvestep.bench.methods import get_method
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.bench.methods.method import BuildRequest, Built, Method


def _level(make: Callable[..., Any]) -> Callable[[BuildRequest], Built]:
    """A measured optimizer at a constant ℓ."""

    def build(request: BuildRequest) -> Built:
        optimizer = make(request.parameters, lr=request.given_lr, weight_decay=request.weight_decay)
        return Built(optimizer, optimizer)

    return build


def _auto(request: BuildRequest) -> Built:
    """Auto from another first scale, with its averaged weights."""
    numbers = {"first": request.given_lr}
    optimizer = VariedAuto(request.parameters, numbers, weight_decay=request.weight_decay)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


def _auto_ceiling(request: BuildRequest) -> Built:
    """What Auto was before, under another ceiling, with its averaged weights."""
    optimizer = CeilingAdam(request.parameters, weight_decay=request.weight_decay, peak=request.given_lr)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


_OWN: dict[str, Callable[[BuildRequest], Built]] = {
    "level-sgd": _level(curvestep.RescaledSGD),
    "level-adam": _level(curvestep.RescaledAdam),
    "lqa": _level(curvestep.LQA),
    "auto": _auto,
    "auto-ceiling": _auto_ceiling,
}


def method(name: SubjectName) -> Method:
    """The row of a subject: one of these, or the command line's own of the same name."""
    build = _OWN.get(name)
    return get_method(name) if build is None else Method(name, "with a number that is varied", True, build)
