"""The scale at which the noise of the iterate and the progress of the average are in balance, measured over windows."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, final

from curvestep._probe import Need, Probe
from curvestep._records import LONGEST, Outcome
from curvestep._window import WindowNeed, WindowReading
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
        readings: how many readings there were.
        first_loss: J(x̄') of the first.
        weight: Σ keep^i over the readings that the sums below are of.
        noise: Σ keep^i |N| over the readings.
        progress: Σ keep^i p.
        former: what that was before the last reading; infinite before the first.
        variance: Σ keep^2i e².
        turn: whether s grew when it moved last, 1, or shrank, −1; 0 before.
        settled: 1 once s has turned.
    """

    count: int
    start: int
    end: int
    scale: float = 0.0
    readings: int = 0
    first_loss: float = 0.0
    weight: float = 0.0
    noise: float = 0.0
    progress: float = 0.0
    former: float = math.inf
    variance: float = 0.0
    turn: int = 0
    settled: int = 0


@final
@dataclass(frozen=True)
class NoiseBalance:
    """τ = s, a scale of the run that is measured over windows of steps and has no unit to choose.

    At the end of a window the reading (`WindowReading`) gives N, how much higher than the average the iterate lies for
    the curvature alone, and p, what the average won per factor of e in the run's length, with its standard error e.
    With |N|, p and e² summed over windows, the past with weight ``keep``, and P the lesser of this window's sum of p
    and the last one's,

        s ← s · f,    f = (target · √k · p* / N)^½ held to [1/most, most],

    so that s stays where N / p = target · √k; and p* is the number in P ± ``careful`` · e that is nearest to that
    balance, held to [floor · L, roof · J(x̄)], L = min(J(x̄), J(x̄'₁) − J(x̄)), where J(x̄'₁) is the first loss.

    - The floor is for plateaus: there neither noise nor progress is to be seen. Where P and the noise are both below
      what balance at the floor would be, f = ``most``. A loss that certainly rises, P + 2e < 0, has no floor.
    - The roof is for the steep first windows, whose progress says nothing about the windows to come.
    - After s has turned once, from growing to shrinking or back, it moves by ``settled`` at most, plateaus apart.
    - p* ≤ 0 with N > 0: f = 1/most. N = 0: f = most. A reading that is not finite: f = 1/most, and the sums begin anew.
    - Where the gap J(z) − J(x̄) − ⟨∇J(x̄), E⟩ is above ``kinks`` · |N|, it stands for |N|: a loss made of straight pieces
      (hinge, absolute error) has no curvature, and its noise shows in the gap alone.
    - s₀ = first · (the step of the rule inside), which is asked at the first step alone; first² · that, where the rule
      had no curvature to go by and its step is the longest it allows.

    ========  ====================================  ==========================================
    symbol    name                                  meaning
    ========  ====================================  ==========================================
    s         ``state["balance_scale"]``            the scale: τ at ℓ = level
    N, p      ``reading.noise``, ``.progress``      see `WindowReading`
    k         ``state["balance_count"]``            number of steps so far
    ========  ====================================  ==========================================

    Args:
        rule: The rule whose first step s₀ is a share of.
        target: N / (p √k) in balance, without unit, above 0.
        first: s₀ in units of the first step of ``rule``, above 0.
        floor: the least p* as a share of the loss, at least 0.
        roof: the largest p* as a share of the loss, above 0; infinite for none.
        careful: how many standard errors of p must agree before s moves, at least 0.
        kinks: how many times |N| the gap must be to stand for it, above 0.
        most: the largest factor at a window's end, and the inverse of the least, above 1.
        settled: the same once s has turned, above 1.
        keep: weight of the past windows, in [0, 1).
        level: The ℓ at which a step has the length s, above 0.
        windows: Where windows end.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A few operations on floats of the host, and what the reading costs once a window (docs/long.md).

    Example:
        The first step of the rule inside is 6, a tenth of it the first scale; after five steps a window ends.

        >>> from curvestep.steprules import CurvatureRescaling
        >>> rule = NoiseBalance(CurvatureRescaling(), careful=0.0)
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
    floor: float = 0.03
    roof: float = 3.0
    careful: float = 0.5
    kinks: float = 10.0
    most: float = 2.0
    settled: float = 1.25
    keep: float = 0.5
    level: float = 0.5
    windows: Windows = Windows()

    #: How many standard errors below zero a progress is a loss that certainly rises.
    _RISES = 2.0

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        least = {"target": 0.0, "first": 0.0, "roof": 0.0, "kinks": 0.0, "most": 1.0, "settled": 1.0, "level": 0.0}
        for name, bound in least.items():
            value = getattr(self, name)
            if not (_is_number(value) and value > bound):
                raise ValueError(f"{name} must be a number above {bound:g}, but {name}={value!r} was given.")
        for name in ("floor", "careful"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0.0):
                raise ValueError(f"{name} must be a number of at least 0, but {name}={value!r} was given.")
        if not (_is_number(self.keep) and 0.0 <= self.keep < 1.0):
            msg = f"keep is the weight of the past and must lie in [0, 1), but keep={self.keep!r} was given."
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule inside needs, at the first step."""
        return self.rule.needs | _SLOPE

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the step after ``state`` needs: the slope alone where the rule inside is not asked."""
        return self.rule.needs_at(_inner(state)) | _SLOPE if state["balance_scale"] == 0.0 else _SLOPE

    def init(self) -> RuleState:
        """Return the state of the rule inside and a scale of 0, which the first step replaces."""
        return {**self.rule.init(), **_saved(BalanceState(0, 0, self.windows.end(0)))}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return the r of the scale; see the class."""
        own, inner = _read(state), _inner(state)
        choice = _any_length(probe, inner) if own.scale > 0.0 else self.rule.choose(probe, ell, inner)
        if isinstance(choice, LineRequest):
            return choice
        if not choice.advances:
            return replace(choice, state=state)
        own = replace(own, count=own.count + 1)
        if not choice.outcome.moved:
            return replace(choice, state={**choice.state, **_saved(own)})
        first = self.first**2 if choice.outcome in LONGEST else self.first
        own = replace(own, scale=own.scale or first * self.level * choice.rescaling)
        rescaling = own.scale / self.level
        new = {**choice.state, **_saved(own)}
        return StepChoice(rescaling, choice.lipschitz, Outcome.WINDOW_SCALE, new, advances=True)

    # ------------------------------------------------------------------------------------------------ windows

    @property
    def window_needs(self) -> frozenset[WindowNeed]:
        """Return the loss at the iterate, and the slope for its error; no curvature along the displacement."""
        needs = {WindowNeed.ITERATE_LOSS, WindowNeed.SLOPE}
        return frozenset(needs if self.careful > 0.0 else needs - {WindowNeed.SLOPE})

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
        own = replace(own, start=own.count, end=self.windows.end(own.count))
        if not reading.is_finite:
            lost = replace(own, scale=own.scale / self.most, weight=0.0, noise=0.0, progress=0.0, variance=0.0)
            return {**state, **_saved(lost)}
        now = replace(
            own,
            readings=own.readings + 1,
            first_loss=own.first_loss if own.readings else reading.loss_before,
            weight=self.keep * own.weight + 1.0,
            noise=self.keep * own.noise + self._height(reading),
            progress=self.keep * own.progress + reading.progress,
            former=own.progress if own.weight > 0.0 else math.inf,
            variance=self.keep**2 * own.variance + reading.progress_error**2,
        )
        factor, is_plateau = self._factor(now, reading.loss)
        if is_plateau:
            return {**state, **_saved(replace(now, scale=now.scale * self.most))}
        if factor != 1.0:
            turn = 1 if factor > 1.0 else -1
            now = replace(now, turn=turn, settled=int(now.settled or now.turn * turn < 0))
        if now.settled:
            factor = min(max(factor, 1.0 / self.settled), self.settled)
        return {**state, **_saved(replace(now, scale=now.scale * factor))}

    def _height(self, reading: WindowReading) -> float:
        """Return |N|, or the gap where the curvature does not see what bends."""
        curved, gap = abs(reading.noise), reading.gap
        return gap if gap is not None and gap > self.kinks * curved else curved

    def _factor(self, now: BalanceState, loss: float) -> tuple[float, bool]:
        """Return f as far as the error of p allows, and whether this is a plateau."""
        error = math.sqrt(now.variance)
        left = now.weight * loss
        fallen = now.weight * (now.first_loss - loss)
        floor = self.floor * max(0.0, min(left, fallen))
        if now.progress + self._RISES * error < 0.0:
            floor = -math.inf
        roof = self.roof * left if left > 0.0 else math.inf
        progress = min(now.progress, now.former)
        low, high = (
            self._wanted(now, min(max(progress + side * self.careful * error, floor), roof)) for side in (-1.0, 1.0)
        )
        factor = high if high < 1.0 else max(low, 1.0)
        return factor, progress < floor and now.noise < self._balance(now, floor)

    def _balance(self, now: BalanceState, progress: float) -> float:
        """Return the noise that is in balance with a progress."""
        return self.target * math.sqrt(now.count) * progress

    def _wanted(self, now: BalanceState, progress: float) -> float:
        """Return f for a progress p*."""
        if progress <= 0.0:
            return 1.0 / self.most if now.noise > 0.0 else 1.0
        if now.noise == 0.0:
            return self.most
        return min(max(math.sqrt(self._balance(now, progress) / now.noise), 1.0 / self.most), self.most)


def _is_number(value: object) -> bool:
    """Whether an argument is a number, infinity included."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _any_length(probe: Probe, state: RuleState) -> StepChoice:
    """Return a step of which the probe does not say how long it is."""
    if probe.direction_norm_sq == 0.0:
        return StepChoice(0.0, None, Outcome.ZERO_DIRECTION, state, advances=False)
    if not (math.isfinite(probe.slope) and math.isfinite(probe.direction_norm_sq)):
        return StepChoice(0.0, None, Outcome.NON_FINITE_CURVATURE, state, advances=False)
    return StepChoice(1.0, None, Outcome.TAKEN, state, advances=True)


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
