"""Prototypes of step rules for Auto; experiments, not a part of the library."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import Any

from torch import nn

from benchmarks.league.methods.driver import Driver, Method, trained
from benchmarks.league.prototypes import balance, course, steady
from benchmarks.league.prototypes.base import Windowed
from benchmarks.league.prototypes.constant import Constant
from benchmarks.league.prototypes.long import Long, Options


class Prototype(Driver):
    """A prototype as the league runs it."""

    def record(self) -> AbstractContextManager[Any]:
        """Return the optimizer's own context."""
        return self.optimizer.record()

    def averaged(self) -> AbstractContextManager[Any]:
        """Return the context with the averaged weights."""
        return self.optimizer.average.shown()

    def report(self) -> dict[str, Any]:
        """Return step sizes and scales over the run."""
        taus = self.optimizer.taus
        places = [int(len(taus) * (i + 0.5) / 10) for i in range(10)]
        return {
            "taus": [float(f"{taus[i]:.3g}") for i in places],
            "scales": [float(f"{s:.3g}") for s in getattr(self.optimizer, "scales", [])],
            "held": self.optimizer.held / max(1, len(taus)),
            "calls": self.optimizer.calls,
        }


class Logged(Prototype):
    """The same, with every reading in the report."""

    def report(self) -> dict[str, Any]:
        """Return step sizes and scales over the run."""
        rows = [{k: float(f"{v:.4g}") for k, v in asdict(r).items() if k != "extra"} for r in self.optimizer.readings]
        bounds = [(i, b) for i, b in enumerate(self.optimizer.bounds) if i % 16 == 15]
        return {"readings": rows, "bounds": [(i, float(f"{b:.3g}")) for i, b in bounds]}


def _changed(options: Any) -> str:
    """Return the options of a prototype that are not the first one's."""
    rest = [(f.name, getattr(options, f.name)) for f in fields(options) if getattr(options, f.name) != f.default]
    kind = type(options).__module__.rpartition(".")[2]
    return ", ".join([kind, *(f"{name} {value:g}" for name, value in rest if value is not None)])


def _row(
    name: str, make: Callable[[list[nn.Parameter]], Windowed], what: str, kind: type[Driver] = Prototype
) -> Method:
    return Method(name, lambda model, _: kind(make(trained(model))), what)


_SCALES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_LONG = {
    "long-0": Options(start=6e-4),
    "long-1": Options(),
    "long-2": Options(level=0.25),
    "long-3": Options(balance=1.0),
}
_BALANCE = {
    "balance-0": balance.Options(),
    "balance-1": balance.Options(target=0.2),
    "balance-2": balance.Options(level=0.0),
    "balance-3": balance.Options(target=0.05),
    "balance-4": balance.Options(first=1 / 16),
    "balance-5": balance.Options(first=1 / 16, level=0.0),
    "balance-6": balance.Options(first=1 / 16, target=0.2),
    "balance-7": balance.Options(first=1 / 16, target=0.015, root=0.5),
    "balance-8": balance.Options(first=1 / 16, target=0.015, root=0.5, careful=1.0),
    "balance-9": balance.Options(first=1 / 16, target=0.015, root=0.5, careful=1.0, level=0.0),
    "balance-10": balance.Options(first=1 / 16, target=0.0035, root=0.75, careful=1.0),
    "balance-11": balance.Options(first=1 / 16, target=0.015, root=0.5, careful=1.0, start=1e-3),
    "balance-12": balance.Options(first=0.01, ramp=0, target=0.015, root=0.5, careful=0.5),
    "balance-13": balance.Options(first=0.01, ramp=0, target=0.015, root=0.5, careful=0.5, level=0.0),
    "balance-14": balance.Options(first=0.01, ramp=0, target=0.0035, root=0.75, careful=0.5),
    "balance-15": balance.Options(first=0.01, ramp=0, target=0.03, root=0.5, careful=0.5),
    "balance-16": balance.Options(first=0.01, ramp=0, target=0.015, root=0.5, careful=0.5, level=1.0),
    "balance-17": balance.Options(first=0.01, ramp=0, target=0.015, root=0.5, careful=0.5, alpha=True),
    "balance-18": balance.Options(first=0.01, ramp=0, target=0.0075, root=0.5, careful=0.5, alpha=True),
    "balance-19": balance.Options(first=0.01, ramp=0, target=0.0035, root=0.75, careful=0.5, alpha=True),
    "balance-20": balance.Options(first=0.01, ramp=0, target=0.015, root=0.5, careful=0.5, alpha=True, level=0.0),
    "balance-21": balance.Options(first=0.03, ramp=0, target=0.0035, root=0.75, careful=0.5, alpha=True, up=4.0),
    "balance-22": balance.Options(
        first=0.03, ramp=0, target=0.0035, root=0.75, careful=0.5, alpha=True, up=4.0, level=0.0
    ),
    "balance-23": balance.Options(
        first=0.03, ramp=0, target=0.0035, root=0.75, careful=0.5, alpha=True, up=4.0, level=0.25
    ),
    **{
        f"balance-{number}": balance.Options(
            **{
                "first": 0.1,
                "ramp": 0,
                "target": 0.0035,
                "root": 0.75,
                "careful": 0.5,
                "alpha": True,
                "level": 1.0,
                **other,
            }
        )
        for number, other in (
            (24, {}),
            (25, {"level": 0.5, "smooth": 0.9}),
            (26, {"target": 0.007}),
            (27, {"target": 0.00175}),
            (28, {"down": 0.25}),
            (29, {"root": 0.5, "target": 0.015}),
            (30, {"careful": 1.0}),
            (31, {"alpha": False}),
            (32, {"level": 0.0}),
            (33, {"level": 2.0, "smooth": 0.9}),
            (34, {"first": 1e-4}),
            (35, {"first": 100.0}),
            (36, {"keep": 0.0}),
            (37, {"growth": 1.12}),
            (38, {"careful": 0.0, "keep": 0.7, "level": 0.5, "smooth": 0.9}),
            (39, {"careful": 0.0, "keep": 0.7, "level": 0.5, "smooth": 0.9, "root": 0.5, "target": 0.015}),
            (40, {"careful": 0.0, "keep": 0.7, "level": 0.5, "smooth": 0.9, "alpha": False}),
            (41, {"careful": 0.0, "keep": 0.7, "level": 0.5, "smooth": 0.9, "root": 0.25, "target": 0.06}),
            (43, {"optimist": True, "level": 0.5, "smooth": 0.9}),
            (44, {"optimist": True, "level": 0.5, "smooth": 0.9, "careful": 1.0}),
            (45, {"optimist": True, "level": 0.5, "smooth": 0.9, "first": 1 / 3}),
            (46, {"optimist": True, "level": 0.5, "smooth": 0.9, "root": 0.5, "target": 0.01}),
            (47, {"optimist": True, "level": 0.5, "smooth": 0.9, "careful": 1.0, "target": 0.00175}),
            (48, {"optimist": True, "level": 0.5, "smooth": 0.9, "careful": 1.0, "root": 0.5, "target": 0.025}),
            (49, {"optimist": True, "level": 0.5, "smooth": 0.9, "careful": 1.0, "root": 0.25, "target": 0.08}),
            (50, {"optimist": True, "level": 0.0, "careful": 1.0, "root": 0.5, "target": 0.025}),
            (51, {"optimist": True, "level": 0.25, "smooth": 0.9, "careful": 1.0, "root": 0.5, "target": 0.025}),
            (52, {"optimist": True, "level": 0.5, "smooth": 0.9, "root": 0.5, "target": 0.012}),
            (53, {"optimist": True, "level": 0.5, "smooth": 0.9, "root": 0.25, "target": 0.04}),
            (54, {"optimist": True, "level": 0.0, "root": 0.5, "target": 0.012}),
            (55, {"optimist": True, "level": 0.5, "smooth": 0.9, "root": 0.5, "target": 0.012, "first": 1e-4}),
            (56, {"optimist": True, "level": 0.5, "smooth": 0.9, "root": 0.5, "target": 0.012, "first": 100.0}),
            (57, {"optimist": True, "level": 0.5, "smooth": 0.9, "pull": 0.5}),
            (58, {"optimist": True, "level": 0.5, "smooth": 0.9, "pull": 1.0, "target": 0.00175}),
            (59, {"optimist": True, "level": 0.5, "smooth": 0.9, "pull": 1.0}),
            (60, {"optimist": True, "level": 0.5, "smooth": 0.9, "pull": 0.5, "first": 1e-4}),
            (61, {"optimist": True, "level": 0.5, "smooth": 0.9, "pull": 0.5, "first": 100.0}),
            (62, {"optimist": True, "level": 0.0, "pull": 0.5}),
            (63, {"root": 0.5, "target": 0.015, "level": 0.5, "smooth": 0.9, "track": 1.25}),
            (64, {"optimist": True, "root": 0.5, "target": 0.015, "level": 0.5, "smooth": 0.9, "track": 1.25}),
            (65, {"root": 0.5, "target": 0.015, "level": 0.5, "smooth": 0.9, "track": 1.25, "first": 1e-4}),
            (66, {"root": 0.5, "target": 0.015, "level": 0.5, "smooth": 0.9, "track": 1.25, "first": 100.0}),
            (67, {"root": 0.5, "target": 0.015, "level": 0.0, "track": 1.25}),
            (68, {"root": 0.5, "target": 0.015, "level": 0.25, "smooth": 0.9, "track": 1.25}),
            (69, {"root": 0.5, "target": 0.015, "level": 0.5, "smooth": 0.9, "track": 1.12}),
            (
                71,
                {
                    "optimist": True,
                    "root": 0.5,
                    "target": 0.015,
                    "level": 0.5,
                    "smooth": 0.9,
                    "track": 1.25,
                    "first": 1e-4,
                },
            ),
            (
                72,
                {
                    "optimist": True,
                    "root": 0.5,
                    "target": 0.015,
                    "level": 0.5,
                    "smooth": 0.9,
                    "track": 1.25,
                    "first": 100.0,
                },
            ),
            (73, {"optimist": True, "root": 0.5, "target": 0.015, "level": 0.0, "track": 1.25}),
            (74, {"root": 0.5, "target": 0.015, "level": 0.5, "smooth": 0.9, "track": 1.25, "free": True}),
            (75, {"root": 0.5, "target": 0.015, "level": 0.25, "smooth": 0.9, "track": 1.25, "free": True}),
            (76, {"root": 0.5, "target": 0.015, "level": 2.0, "smooth": 0.9, "track": 1.25}),
            (42, {"careful": 0.0, "keep": 0.7, "level": 0.5, "smooth": 0.9, "first": 0.3}),
        )
    },
}
_SHARE = {
    **{"first": 0.1, "ramp": 0, "root": 0.5, "target": 0.015},
    **{"careful": 0.5, "alpha": True, "track": 1.25, "level": 0.0},
}
_TURNED = {"level": 0.5, "smooth": 0.9, "until": 50}
_BOTH = {"least": True, "floor": 0.05, "leap": 2.0, "roof": 3.0}
_BALANCE |= {
    f"share-{number}": balance.Options(**{**_SHARE, **other})
    for number, other in (
        (0, {"floor": 0.025, "roof": 1.0}),
        (1, {"floor": 0.025, "roof": 1.0, **_TURNED}),
        (2, {"floor": 0.025, "roof": 1.0, "up": 1.5}),
        (3, {"floor": 0.025, "roof": 1.0, "least": True}),
        (4, {"floor": 0.05, "roof": 0.5, **_TURNED}),
        (5, {**_BOTH, "roof": 0.0}),
        (6, _BOTH),
        (7, {**_BOTH, "roof": 1.0}),
        (8, {"up": 1.5, "first": 0.3, "floor": 0.05, "leap": 2.0}),
        (9, {"least": True}),
        (10, {**_BOTH, "first": 0.3}),
        (11, {**_BOTH, "alpha": False}),
        (12, {**_BOTH, "up": 1.5, "first": 0.3}),
        (18, {**_BOTH, "alpha": False, "target": 0.02}),
        (20, {**_BOTH, "alpha": False, "floor": 0.03, "guard": True}),  # the same as "steady"
    )
}
_STEADY = {
    "steady": {},
    "steady-calm": {"both": True, "alarm": True},
    "steady-both": {"both": True},
    "steady-both-no-error": {"both": True, "careful": 0.0},
    "steady-calm-track": {"both": True, "alarm": True, "track": 1.5},
    "steady-both-adam": {"both": True, "adam": True},
    "steady-target-half": {"target": 0.0075},
    "steady-target-twice": {"target": 0.03},
    "steady-first-thousandth": {"first": 1e-4},
    "steady-first-tenth": {"first": 0.01},
    "steady-first-half": {"first": 0.05},
    "steady-first-twice": {"first": 0.2},
    "steady-first-ten": {"first": 1.0},
    "steady-first-thousand": {"first": 100.0},
    "steady-floor-half": {"floor": 0.015},
    "steady-floor-twice": {"floor": 0.06},
    "steady-roof-half": {"roof": 1.5},
    "steady-roof-twice": {"roof": 6.0},
    "steady-no-floor": {"floor": 0.0},
    "steady-no-leap": {"leap": 0.0},
    "steady-no-roof": {"roof": 0.0},
    "steady-no-least": {"least": False},
    "steady-no-error": {"careful": 0.0},
}
_UNMOVED = {"moves": False}
_COURSE = {
    "course-constant": {**_UNMOVED, "fall": 0.0},
    "course-constant-long": {**_UNMOVED, "fall": 0.0, "first": 0.2},
    "course-alone": _UNMOVED,
    "course-alone-half": {**_UNMOVED, "fall": 0.5},
    "course-no-fall": {"fall": 0.0, "gain": 1.0, "leak": 0.0, "roof": 3.0, "careful": 0.5},
    "course-no-leak": {"fall": 0.0, "gain": 0.5, "leak": 0.0, "roof": 3.0, "careful": 0.5},
    "course-a": {"gain": 0.5, "leak": 0.1, "roof": 3.0, "careful": 0.5},
    "course-a-fall-half": {"gain": 0.5, "leak": 0.1, "roof": 3.0, "careful": 0.5, "fall": 0.5},
    "course-a-leak": {"gain": 0.5, "leak": 0.2, "roof": 3.0, "careful": 0.5},
    "course-a-gain": {"gain": 0.3, "leak": 0.1, "roof": 3.0, "careful": 0.5},
    "course-a-average": {"gain": 0.5, "leak": 0.1, "roof": 3.0, "careful": 0.5, "gamma": 16.0},
    "course-a-target": {"gain": 0.5, "leak": 0.1, "roof": 3.0, "careful": 0.5, "target": 0.01},
    "course-a-roof": {"gain": 0.5, "leak": 0.1, "roof": 1.0, "careful": 0.5},
    "course-careful": {"careful": 0.5},
    "course": {},
    "course-leak": {"leak": 0.1},
    "course-most": {"most": 1.5},
}
PROTOTYPES: dict[str, Method] = {
    row.name: row
    for row in (
        *(_row(f"constant-{s:g}", lambda p, s=s: Constant(p, s), f"constant {s:g}, averaged") for s in _SCALES),
        *(_row(f"logged-{s:g}", lambda p, s=s: Constant(p, s, 12), "the same, logged", Logged) for s in _SCALES),
        *(_row(name, lambda p, o=o: balance.Balance(p, o), _changed(o)) for name, o in _BALANCE.items()),
        *(
            _row(name, lambda p, o=o: steady.Steady(p, steady.Options(**o)), _changed(steady.Options(**o)))
            for name, o in _STEADY.items()
        ),
        *(
            _row(name, lambda p, o=o: course.Course(p, course.Options(**o)), _changed(course.Options(**o)))
            for name, o in _COURSE.items()
        ),
        _row(
            "auto-calm",
            lambda p: steady.Steady(p, steady.Options(both=True, alarm=True, track=1.5)),
            "the rule before, shrinking its scale only where two windows say so",
        ),
        *(_row(name, lambda p, o=o: Long(p, o), _changed(o)) for name, o in _LONG.items()),
    )
}
