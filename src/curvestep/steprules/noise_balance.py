"""The scale at which the noise of the iterate and the progress of the average are in balance, measured over windows."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, final

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep._window import WindowReading
from curvestep.steprules._base import LineRequest, RuleState, StepChoice, StepRule
from curvestep.steprules.windows import Windows

#: What stands before the names of this rule's numbers in a state that has those of the rule inside too.
_PREFIX = "balance_"
_SLOPE = frozenset({Need.SLOPE})


@final
@dataclass(frozen=True)
class BalanceState:
    """What the rule remembers, all of it plain numbers.

    Attributes:
        count: k, how many steps were taken.
        start: k', how many there were at the beginning of the window.
        end: how many there are at its end.
        scale: s; 0 before the first step.
        bound: the smoothed r of the rule inside.
        used: sum of the steps of the window.
        noise: the averaged N.
        progress: the averaged p.
        variance: the averaged variance of p.
        turn: whether s grew when it moved last, 1, or shrank, −1; 0 before.
        settled: 1 once s has turned.
    """

    count: int
    start: int
    end: int
    scale: float = 0.0
    bound: float = 0.0
    used: float = 0.0
    noise: float = 0.0
    progress: float = 0.0
    variance: float = 0.0
    turn: int = 0
    settled: int = 0


@final
@dataclass(frozen=True)
class NoiseBalance:
    """τ = min(s, bound) with a scale s of the run that is measured over windows of steps and has no unit to choose.

    At the end of a window the reading (`WindowReading`) gives N, the height of the iterate's noise above the average,
    and p, the progress of the average per factor of e in the run's length. Both are averaged over windows with the
    weight ``keep`` of the past; then

        s ← s · f,    f = (target · √k · p / N)^½ held to [½, 2],

    so that s stays where N / p = target · √k. The step is the shorter of s and the smoothed bound of the rule inside,

        r̄ ← 0.9 r̄ + 0.1 r,    τ = ℓ min(r̄, s / level),    s₀ = first · level · r at the first step.

    - p is uncertain by its standard error e: s moves only as far as the p in [p − e/2, p + e/2] that is nearest to
      balance asks for.
    - Where the minimum of the parabola along the displacement lies behind by more than its own error, α + e_α < 0,
      also f ≤ 1 + α + e_α.
    - After s has turned once, from growing to shrinking or back, it moves by 1.25 at most.
    - Where the bound decided over the window, so that the steps were 0.9 s or less in the mean, s is first held to
      twice that mean.
    - p ≤ 0 with N > 0: f = ½. N ≤ 0: f = 2. A reading that is not finite: s is half the mean step, averages begin anew.

    ========  ====================================  ==========================================
    symbol    name                                  meaning
    ========  ====================================  ==========================================
    s         ``state["balance_scale"]``            the scale, in the unit of a rate at ℓ = level
    N, p      ``reading.noise``, ``.progress``      see `WindowReading`
    α         ``reading.further``                   how much further the minimum lies
    k         ``state["balance_count"]``            number of steps so far
    r̄         ``state["balance_bound"]``            smoothed r of the rule inside
    ========  ====================================  ==========================================

    Args:
        rule: The rule whose step is the bound.
        target: N / (p √k) in balance, without unit, above 0.
        first: s₀ in units of the first step's bound, above 0.
        level: The ℓ at which a step of s has the length s, above 0.
        bounded: Whether the rule inside bounds every step; else it is asked for the first step alone.
        windows: Where windows end.
        keep: weight of the past windows, in [0, 1).

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A few operations on floats of the host, and what the reading costs once a window (docs/long.md).

    Example:
        The first step's bound is 6, a tenth of it the first scale; after five steps a window ends.

        >>> from curvestep.steprules import CurvatureRescaling
        >>> rule = NoiseBalance(CurvatureRescaling())
        >>> probe, state = Probe(18.0, 12.0, 2.0, 2.0, 1.0, 9.0), None
        >>> for _ in range(5):
        ...     choice = rule.choose(probe, 0.5, state or rule.init())
        ...     state = choice.state
        >>> round(0.5 * choice.rescaling, 9), rule.ends_window(state)
        (0.6, True)
        >>> reading = WindowReading(5, 0, 2.0, 4.5, 2.1, -2.0, 0.0, None, 1.0, 1.0, 1.0, 0.25, 1.0, 0.25)
        >>> round(rule.learn(reading, state)["balance_scale"], 3)  # 0.6 (0.015 √5 (2.5 / ln 5) / 0.125)^½
        0.387

    Source:
        None; docs/long.md has the derivation, and what related methods do.
    """

    rule: StepRule
    target: float = 0.015
    first: float = 0.1
    level: float = 0.5
    bounded: bool = True
    windows: Windows = Windows()
    keep: float = 0.5

    #: Least and largest factor at a window's end, and the largest once s has turned.
    _DOWN, _UP, _SETTLED = 0.5, 2.0, 1.25
    #: Weight of the past steps in the bound, and how many standard errors of p must agree.
    _SMOOTH, _CAREFUL = 0.9, 0.5

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        for name in ("target", "first", "level"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be a finite number above 0, but {name}={value!r} was given.")
        if not 0.0 <= self.keep < 1.0:
            raise ValueError(
                f"keep is the weight of the past and must lie in [0, 1), but keep={self.keep!r} was given."
            )

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule inside needs."""
        return self.rule.needs | _SLOPE

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the step after ``state`` needs: the slope alone where the rule inside is not asked."""
        return self.rule.needs_at(_inner(state)) | _SLOPE if self._asks(_read(state)) else _SLOPE

    def init(self) -> RuleState:
        """Return the state of the rule inside and a scale of 0, which the first step replaces."""
        return {**self.rule.init(), **_saved(BalanceState(0, 0, self.windows.end(0)))}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return the r of the scale, or the bound where that is shorter; see the class."""
        own = _read(state)
        if self._asks(own):
            choice = self.rule.choose(probe, ell, _inner(state))
            if isinstance(choice, LineRequest):
                return choice
        else:
            choice = _unbounded(probe, _inner(state))
        if not choice.advances:
            return replace(choice, state=state)
        if not choice.outcome.moved:
            return replace(choice, state={**choice.state, **_saved(replace(own, count=own.count + 1))})
        bound, rescaling, outcome = own.bound, choice.rescaling, choice.outcome
        if math.isfinite(rescaling):
            bound = rescaling if own.scale == 0.0 else self._SMOOTH * bound + (1.0 - self._SMOOTH) * rescaling
            rescaling = bound
        scale = own.scale or self.first * self.level * rescaling
        if scale / self.level < rescaling:
            rescaling, outcome = scale / self.level, Outcome.WINDOW_SCALE
        new = replace(
            own, count=own.count + 1, scale=scale, bound=bound, used=own.used + self.level * rescaling
        )  # fmt: skip
        return StepChoice(rescaling, choice.lipschitz, outcome, {**choice.state, **_saved(new)}, advances=True)

    # ------------------------------------------------------------------------------------------------ windows

    def ends_window(self, state: RuleState) -> bool:
        """Whether the window's steps were taken."""
        return state["balance_count"] >= state["balance_end"] and state["balance_scale"] > 0.0

    def window(self, state: RuleState) -> tuple[int, int]:
        """Return (k', k)."""
        own = _read(state)
        return own.start, own.count

    def learn(self, reading: WindowReading, state: RuleState) -> RuleState:
        """Return the state with the scale of the next window; see the class."""
        own = _read(state)
        used = own.used / max(own.count - own.start, 1)
        opened = replace(own, start=own.count, end=self.windows.end(own.count), used=0.0)
        if not reading.is_finite:
            lost = replace(opened, scale=self._DOWN * used, noise=0.0, progress=0.0, variance=0.0)
            return {**state, **_saved(lost)}
        error = reading.error / reading.folds if reading.folds > 0.0 else 0.0
        now = replace(
            opened,
            noise=self.keep * own.noise + reading.noise,
            progress=self.keep * own.progress + reading.progress,
            variance=self.keep**2 * own.variance + error**2,
        )
        factor = self._factor(now, reading)
        if factor != 1.0:
            turn = 1 if factor > 1.0 else -1
            now = replace(now, turn=turn, settled=int(own.settled or own.turn * turn < 0))
        if now.settled:
            factor = min(max(factor, 1.0 / self._SETTLED), self._SETTLED)
        base = min(own.scale, 2.0 * used) if used < 0.9 * own.scale else own.scale
        return {**state, **_saved(replace(now, scale=base * factor))}

    def _factor(self, now: BalanceState, reading: WindowReading) -> float:
        """Return f, as far as the errors of p and of α allow."""
        spread = self._CAREFUL * math.sqrt(now.variance)
        low, high = (self._wanted(now, now.progress + side * spread) for side in (-1.0, 1.0))
        factor = high if high < 1.0 else max(low, 1.0)
        if reading.further is not None:
            nearest = reading.further + reading.error / abs(reading.curvature)
            if nearest < 0.0:
                factor = min(factor, max(1.0 + nearest, self._DOWN))
        return factor

    def _wanted(self, now: BalanceState, progress: float) -> float:
        """Return f for a progress p."""
        if progress <= 0.0:
            return self._DOWN if now.noise > 0.0 else 1.0
        if now.noise <= 0.0:
            return self._UP
        factor = math.sqrt(self.target * math.sqrt(now.count) * progress / now.noise)
        return min(max(factor, self._DOWN), self._UP)

    def _asks(self, own: BalanceState) -> bool:
        """Whether the rule inside is asked."""
        return self.bounded or own.scale == 0.0


def _unbounded(probe: Probe, state: RuleState) -> StepChoice:
    """Return the step of which nothing but the scale decides how long it is."""
    if probe.direction_norm_sq == 0.0:
        return StepChoice(0.0, None, Outcome.ZERO_DIRECTION, state, advances=False)
    if not (math.isfinite(probe.slope) and math.isfinite(probe.direction_norm_sq)):
        return StepChoice(0.0, None, Outcome.NON_FINITE_CURVATURE, state, advances=False)
    return StepChoice(math.inf, None, Outcome.TAKEN, state, advances=True)


_NAMES = {_PREFIX + field.name: field.name for field in fields(BalanceState)}


def _read(state: RuleState) -> BalanceState:
    """Return the numbers of this rule."""
    numbers: dict[str, Any] = {own: state[name] for name, own in _NAMES.items()}
    return BalanceState(**numbers)


def _saved(own: BalanceState) -> RuleState:
    """Return the numbers of this rule as they are saved."""
    return {name: getattr(own, field) for name, field in _NAMES.items()}


def _inner(state: RuleState) -> RuleState:
    """Return the part of the state that belongs to the rule inside."""
    return {name: value for name, value in state.items() if name not in _NAMES}
