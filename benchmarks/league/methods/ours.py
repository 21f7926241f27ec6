"""Methods of the library."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

import curvestep
from benchmarks.league.methods.average import Average
from benchmarks.league.methods.driver import Driver, Method, trained
from benchmarks.league.methods.varied import VariedAuto
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.directions import Adam, Direction
from curvestep.steprules import CurvatureRescaling, NoiseBalance, Trial


class _Recorded(Driver):
    """An optimizer that records."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        self.sizes: list[float] = []
        self.outcomes: dict[str, int] = {}

    def record(self) -> AbstractContextManager[Any]:
        return self.optimizer.record()

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        last = self.optimizer.last_step
        self.sizes.append(last.step_size)
        self.outcomes[last.outcome.name] = self.outcomes.get(last.outcome.name, 0) + 1

    def report(self) -> dict[str, float]:
        shares = {name: count / max(1, self.steps) for name, count in self.outcomes.items()}
        return {"step_size": statistics.median(self.sizes), **shares}


class _Auto(_Recorded):
    """Its report says too at which share of its steps windows had moved the scale by more than a tenth."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        self.moves: list[float] = []

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        state = self.optimizer.param_groups[0]["rule_state"]
        if state.get("balance_first", 0.0) > 0.0:  # the former rule has none
            self.moves.append(abs(math.log(state["balance_scale"] / state["balance_first"])))

    def report(self) -> dict[str, float]:
        if not self.moves:
            return super().report()
        return {**super().report(), "moved": statistics.fmean(move > math.log(1.1) for move in self.moves)}

    def averaged(self) -> AbstractContextManager[Any]:
        return self.optimizer.averaged()


class _Averaged(Driver):
    """torch's Adam at a rate, times a factor of the step, with Auto's average: no measurement."""

    def __init__(self, model: nn.Module, rate: float, factor: Callable[[int], float]) -> None:
        params = trained(model)
        super().__init__(torch.optim.Adam(params, lr=rate, betas=(0.9, 0.99)), factor)
        self.average = Average(params)

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        self.average.advance()

    def averaged(self) -> AbstractContextManager[Any]:
        return self.average.shown()


def _ceiling(step: int) -> float:
    return min((step + 1) / 100.0, (100.0 / (step + 1)) ** 0.5)


def _varied(name: str, what: str, numbers: dict[str, Any], direction: Direction | None = None) -> Method:
    return Method(name, lambda model, _: _Auto(VariedAuto(trained(model), numbers, direction=direction)), what)


class _Flat(_Auto):
    """Auto at a constant scale from its second step on: no weights' size, no course, and windows that move nothing."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__(VariedAuto(trained(model), {"fall": 0.0, "most": 1.0 + 1e-9}))
        self.scale = scale

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        if self.steps == 1:
            for group in self.optimizer.param_groups:
                held = {"balance_first": self.scale, "balance_scale": self.scale, "balance_bound": 0.0}  # no trial
                group["rule_state"] = {**group["rule_state"], **held}


#: The median over the design half and three seeds of the median scale of each of Auto's runs.
MEDIAN = 0.0073
#: The same of today's Auto over the fifth half: known only after the look.
FOUND = 0.006

#: The numbers of `curvestep.steprules.NoiseBalance`; at half and at twice their values they are methods too.
NUMBERS = tuple("first longest shortest share ramp knee fall target gain leak floor roof kinks most keep".split())


def number(name: str, factor: float) -> float:
    """Return a number of the rule times a factor, within what the rule takes."""
    own = getattr(NoiseBalance(CurvatureRescaling()), name)
    if name == "most":
        return own**factor  # a factor of the scale: its logarithm is the number
    if name == "keep":
        return own ** (1.0 / factor)  # a weight of the past: its memory is the number
    return own * factor


#: The numbers of `curvestep.steprules.Trial`, which act where a run begins too long: changed there, like the others.
TRIAL = ("beyond", "steps", "share", "worse", "back")
_LONG = 70.0


def trial_number(name: str, factor: float) -> float:
    """Return a number of the trial times a factor; a number of steps stays whole."""
    own = getattr(Trial(), name)
    return type(own)(own * factor)


OURS = (
    Method("auto", lambda model, _: _Auto(curvestep.Auto(trained(model))), "curvestep.Auto"),
    Method(
        "auto-constant",
        lambda model, _: _Averaged(model, MEDIAN, lambda _: 1.0),
        f"Adam and Auto's average, constant scale {MEDIAN:g}: the median of what Auto first found on the design half",
    ),
    Method(
        "auto-ceiling",
        lambda model, _: _Auto(CeilingAdam(trained(model))),
        "what Auto was: ℓ = ½ along each direction, under the ceiling 0.006 min(k/100, √(100/k))",
    ),
    Method("auto-uncurved", lambda model, _: _Averaged(model, 0.006, _ceiling), "that ceiling and the average alone"),
    _varied("auto-unmeasured", "Auto's first scale and course, moved by no window", {"most": 1.0 + 1e-9}),
    Method(
        "auto-flat",
        lambda model, _: _Flat(model, MEDIAN),
        f"Auto's direction and average, constant scale {MEDIAN:g} after the ramp: no weights' size, course or window",
    ),
    Method(
        "auto-median",
        lambda model, _: _Flat(model, FOUND),
        f"the same at {FOUND:g}, the median of what Auto found on the fifth half; added after the look",
    ),
    _varied("auto-adam", "Auto along Adam's own direction, without Nesterov's look ahead", {}, Adam(0.9, 0.98)),
    _varied("auto-start/1000", "Auto, begun a thousand times shorter where its guard lets it", {"first": 7e-5}),
    _varied("auto-start×1000", "Auto, begun a thousand times longer where its guard lets it", {"first": _LONG}),
    Method("gen", lambda model, _: _Recorded(curvestep.GeN(trained(model))), "GeN at its defaults"),
)
_FACTORS = (("half", 0.5), ("twice", 2.0))
#: Auto with one of its numbers changed; not in the tables and figures of the halves.
VARIED = tuple(
    _varied(f"auto-{word}-{name}", f"Auto with {name} = {number(name, factor):.3g}", {name: number(name, factor)})
    for name in NUMBERS
    for word, factor in _FACTORS
)
#: The same for the numbers of the trial, begun a thousand times longer.
VARIED_TRIALS = tuple(
    _varied(
        f"auto-start×1000-{word}-{name}",
        f"Auto, begun a thousand times longer, with {name} = {trial_number(name, factor):.3g} in its trial",
        {"first": _LONG, "trials": Trial(**{name: trial_number(name, factor)})},  # pyright: ignore[reportArgumentType]
    )
    for name in TRIAL
    for word, factor in _FACTORS
)
