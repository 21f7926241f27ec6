"""A scale that begins with the size of the weights and is moved by the balance of noise and progress over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, final

from curvestep._probe import Need, Probe
from curvestep._records import LONGEST, Outcome
from curvestep._window import WindowNeed, WindowReading
from curvestep.steprules._base import LineRequest, RuleState, StepChoice, StepRule
from curvestep.steprules.trial import Trial
from curvestep.steprules.windows import Windows

#: What stands before the names of this rule's numbers in a state that has those of the rule inside too.
_PREFIX = "balance_"
_SLOPE = frozenset({Need.SLOPE})
_FIRST = frozenset({Need.SLOPE, Need.WEIGHT_SIZE})


@final
@dataclass(frozen=True)
class BalanceState:
    """What the rule remembers, all of it plain numbers.

    Attributes:
        count: k, how many steps were taken.
        start: k', how many there were at the beginning of the window.
        end: how many there are at its end.
        first: s₀; 0 before the first step.
        scale: s₀ eᶜ, without the course; 0 before the first step.
        readings: how many readings there were.
        first_loss: J(x̄') of the first.
        weight: Σ keep^i over the readings that the sums below are of.
        noise: Σ keep^i |N| over the readings.
        progress: Σ keep^i p.
        variance: Σ keep^2i e².
        bound: the first step of the rule inside; 0 where that is the longest it allows.
    """

    count: int
    start: int
    end: int
    first: float = 0.0
    scale: float = 0.0
    readings: int = 0
    first_loss: float = 0.0
    weight: float = 0.0
    noise: float = 0.0
    progress: float = 0.0
    variance: float = 0.0
    bound: float = 0.0


@final
@dataclass(frozen=True)
class NoiseBalance:
    """τ = s_k, a scale that begins with the size of the weights and is moved by what windows of steps bring.

        s_k = s₀ · c_k · e^u,    c_k = min(1, k/ramp) · (knee / max(k, knee))^fall.

    s₀ = first · w, with w the typical size of a weight (`Probe.weight_size`), held to between ``shortest`` and
    ``longest`` times the first step of the rule inside, which goes by the curvature of the first batch. Where w is 0,
    since all weights begin at zero, s₀ is share times that step; share² where the rule inside had no curvature to go by
    and its step is the longest it allows.

    At the end of a window the reading (`WindowReading`) gives N, how much higher than the average the iterate lies for
    the curvature alone, and p, what the average won per factor of e in the run's length, with its standard error e.
    With |N|, p and e² summed over windows, the past with weight ``keep``,

        u ← (1 − leak) u + f,    f = gain · ½ ln(target · √k · p* / N) held to ± ln(most),

    so that the windows move s towards N / p = target · √k, and what they said fades. p* is p held to
    [floor · L, roof · J(x̄)], L = min(J(x̄), J(x̄'₁) − J(x̄)), where J(x̄'₁) is the first loss.

    - The floor is for plateaus: there neither noise nor progress is to be seen. Where p and the noise are both below
      what balance at the floor would be, f = ln(most). A loss that certainly rises, p + 2e < 0, has no floor.
    - The roof is for the steep first windows, whose progress says nothing about the windows to come, and for targets
      that move with the network: their progress is none.
    - p* ≤ 0 with N > 0: f = −ln(most). N = 0: f = ln(most). A reading that is not finite: u falls by ln(most), and the
      sums begin anew.
    - Where the gap J(z) − J(x̄) − ⟨∇J(x̄), E⟩ is above ``kinks`` · |N| and above eight roundings of the loss, it stands
      for |N|: a loss made of straight pieces (hinge, absolute error) has no curvature, and its noise shows in the gap.
    - An s₀ of more than six first steps of the rule inside is on trial (`Trial`): where the steps, or the first window,
      made the loss worse, the run begins again where it began, with a tenth of that step.

    ========  ====================================  ==========================================
    symbol    name                                  meaning
    ========  ====================================  ==========================================
    s₀        ``state["balance_first"]``            the first scale
    s₀ e^u    ``state["balance_scale"]``            the scale without its course c_k
    w         ``probe.weight_size``                 geometric mean over the weight tensors of their
                                                    root mean square
    N, p      ``reading.noise``, ``.progress``      see `WindowReading`
    k         ``state["balance_count"]``            number of steps so far
    ========  ====================================  ==========================================

    Args:
        rule: The rule whose first step limits s₀.
        first: s₀ in units of w, above 0.
        longest: the largest s₀ in units of the first step of ``rule``, at least ``shortest``.
        shortest: the least s₀ in units of that step, above 0.
        share: s₀ in units of that step where w is 0, in (0, 1].
        ramp: number of steps in which the scale grows to s₀, at least 1.
        knee: number of steps after which it falls, at least 1.
        fall: the power of k with which it falls, at least 0.
        target: N / (p √k) in balance, without unit, above 0.
        gain: share of the way to balance that a window moves ln s, in (0, 1].
        leak: share of u that a window forgets, in [0, 1).
        floor: the least p* as a share of the loss, at least 0.
        roof: the largest p* as a share of the loss, above 0; infinite for none.
        kinks: how many times |N| the gap must be to stand for it, above 0.
        most: the largest factor at a window's end, and the inverse of the least, above 1.
        keep: weight of the past windows in the sums, in [0, 1).
        level: The ℓ at which a step has the length s, above 0.
        windows: Where windows end.
        trials: When an s₀ is on trial, and was too long.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        A few operations on floats of the host; the sizes of the weights at the first step, and what the reading costs
        once a window (docs/long.md).

    Example:
        The weights' typical size is 10 and s₀ 0.07 of it; the first of 20 steps of the ramp is a twentieth of that.

        >>> from curvestep.steprules import CurvatureRescaling, Windows
        >>> rule = NoiseBalance(CurvatureRescaling(), windows=Windows(1.25, 5))
        >>> probe, state = Probe(18.0, 12.0, 2.0, 2.0, 1.0, 9.0, weight_size=10.0), rule.init()
        >>> for _ in range(5):
        ...     choice = rule.choose(probe, 0.5, state)
        ...     state = choice.state
        >>> round(0.5 * choice.rescaling, 9), rule.ends_window(state)  # 0.7 · 5/20
        (0.175, True)
        >>> reading = WindowReading(5, 0, 2.0, 4.5, 2.1, -2.0, 0.0, None, 1.0, 1.0, 1.0, 0.25, 1.0, 0.25)
        >>> round(rule.learn(reading, state)["balance_scale"], 4)  # 0.7 (0.015 √5 (2.5 / ln 5) / 0.125)^(gain/2)
        0.5876

    Source:
        None; docs/long.md has the derivation, and what related methods do. A step relative to the weights is that of
        N. Shazeer and M. Stern, "Adafactor", arXiv 1804.04235, section 8, which takes one size for each tensor.
    """

    rule: StepRule
    first: float = 0.07
    longest: float = 10.0
    shortest: float = 1.0 / 30.0
    share: float = 0.3
    ramp: int = 20
    knee: int = 100
    fall: float = 0.25
    target: float = 0.015
    gain: float = 0.4
    leak: float = 0.3
    floor: float = 0.03
    roof: float = 1.5
    kinks: float = 10.0
    most: float = 2.0
    keep: float = 0.5
    level: float = 0.5
    windows: Windows = Windows()
    trials: Trial = Trial()

    #: How many standard errors below zero a progress is a loss that certainly rises.
    _RISES = 2.0
    #: How many roundings of the loss a gap must be above: three losses are in it, each rounded in several places.
    _ROUNDINGS = 8.0

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        least = {"target": 0.0, "first": 0.0, "roof": 0.0, "kinks": 0.0, "shortest": 0.0, "most": 1.0, "level": 0.0}
        for name, bound in least.items():
            value = getattr(self, name)
            if not (_is_number(value) and value > bound):
                raise ValueError(f"{name} must be a number above {bound:g}, but {name}={value!r} was given.")
        for name, bound in {"floor": 0.0, "fall": 0.0, "ramp": 1.0, "knee": 1.0, "longest": self.shortest}.items():
            value = getattr(self, name)
            if not (_is_number(value) and value >= bound):
                raise ValueError(f"{name} must be a number of at least {bound:g}, but {name}={value!r} was given.")
        for name in ("share", "gain"):
            value = getattr(self, name)
            if not (_is_number(value) and 0.0 < value <= 1.0):
                raise ValueError(f"{name} must be a number in (0, 1], but {name}={value!r} was given.")
        for name in ("keep", "leak"):
            value = getattr(self, name)
            if not (_is_number(value) and 0.0 <= value < 1.0):
                raise ValueError(f"{name} must be a number in [0, 1), but {name}={value!r} was given.")

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule inside needs, and the weights' size, at the first step."""
        return self.rule.needs | _FIRST

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the step after ``state`` needs: the slope alone where the rule inside is not asked."""
        return self.rule.needs_at(_inner(state)) | _FIRST if state["balance_first"] == 0.0 else _SLOPE

    def init(self) -> RuleState:
        """Return the state of the rule inside and a scale of 0, which the first step replaces."""
        return {**self.rule.init(), **_saved(BalanceState(0, 0, self.windows.end(0)))}

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return the r of the scale; see the class."""
        if state[_PREFIX + "first"] > 0.0:
            return self._next(probe, state)
        own, inner = _read(state), _inner(state)
        choice = self.rule.choose(probe, ell, inner)
        if isinstance(choice, LineRequest):
            return choice
        if not choice.advances:
            return replace(choice, state=state)
        own = replace(own, count=own.count + 1)
        if not choice.outcome.moved:
            return replace(choice, state={**choice.state, **_saved(own)})
        step, is_longest = self.level * choice.rescaling, choice.outcome in LONGEST
        first = self._first(probe.weight_size, step, is_longest)
        own = replace(own, first=first, scale=first, bound=0.0 if is_longest else step)
        rescaling = own.scale * self._course(own.count) / self.level
        new = {**choice.state, **_saved(own)}
        return StepChoice(rescaling, choice.lipschitz, Outcome.WINDOW_SCALE, new, advances=True)

    def _next(self, probe: Probe, state: RuleState) -> StepChoice:
        """Return the step of the scale, which needs no more of the probe than that there is one."""
        if probe.direction_norm_sq == 0.0:
            return StepChoice(0.0, None, Outcome.ZERO_DIRECTION, state, advances=False)
        if not (math.isfinite(probe.slope) and math.isfinite(probe.direction_norm_sq)):
            return StepChoice(0.0, None, Outcome.NON_FINITE_CURVATURE, state, advances=False)
        count = int(state[_PREFIX + "count"]) + 1
        rescaling = state[_PREFIX + "scale"] * self._course(count) / self.level
        return StepChoice(rescaling, None, Outcome.WINDOW_SCALE, {**state, _PREFIX + "count": count}, advances=True)

    def _course(self, count: int) -> float:
        """Return c_k, the factor of the scale at step k, from 1 on."""
        return min(1.0, count / self.ramp) * (self.knee / max(count, self.knee)) ** self.fall

    def _first(self, size: float, step: float, is_longest: bool) -> float:
        """Return s₀ from the weights' size and the first step of the rule inside."""
        wanted = self.first * size if math.isfinite(size) else 0.0
        if is_longest:  # the step says nothing
            return wanted or self.share**2 * step
        return min(max(wanted, self.shortest * step), self.longest * step) if wanted > 0.0 else self.share * step

    # ------------------------------------------------------------------------------------------------ the trial

    def trial(self, state: RuleState) -> tuple[float, ...]:
        """Return the share of the way, after the steps on trial."""
        if state["balance_count"] != self.trials.steps:  # asked at every step
            return ()
        return (self.trials.share,) if self._is_on_trial(_read(state)) else ()

    def judge(self, loss: float, along: Sequence[float], state: RuleState) -> RuleState | None:
        """Return the state of a shorter start where the steps on trial were too long."""
        return self._shorter(state) if self.trials.is_too_long(along[0], loss) else None

    def judge_window(self, reading: WindowReading, state: RuleState) -> RuleState | None:
        """Return the state of a shorter start where the first window's average lies above its beginning, or N > p."""
        own = _read(state)
        if not (self._is_on_trial(own) and math.isfinite(reading.loss_before)):  # else the batch says nothing
            return None
        is_calm = reading.is_finite and self._height(reading) <= reading.progress
        rises = self.trials.is_too_long(reading.loss_before, reading.loss)
        return self._shorter(state) if rises or not is_calm else None

    def _is_on_trial(self, own: BalanceState) -> bool:
        """Whether the first window runs with an s₀ that the first step of the rule inside contradicts."""
        return own.start == 0 and self.trials.is_on(own.first, own.bound)

    def _shorter(self, state: RuleState) -> RuleState:
        """Return the state before the first step, with s₀ in units of the first step of the rule inside."""
        bound = _read(state).bound
        first = self.trials.back * bound
        return {**state, **_saved(BalanceState(0, 0, self.windows.end(0), first, first, bound=bound))}

    # ------------------------------------------------------------------------------------------------ windows

    @property
    def window_needs(self) -> frozenset[WindowNeed]:
        """Return the loss at the iterate, for the gap; no slope or curvature along the displacement."""
        return frozenset({WindowNeed.ITERATE_LOSS})

    def ends_window(self, state: RuleState) -> bool:
        """Whether the window's steps were taken."""
        return state["balance_count"] >= state["balance_end"] and state["balance_first"] > 0.0

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
            variance=self.keep**2 * own.variance + reading.progress_error**2,
        )
        kept = own.first * (own.scale / own.first) ** (1.0 - self.leak)
        return {**state, **_saved(replace(now, scale=kept * math.exp(self._move(now, reading.loss))))}

    def _height(self, reading: WindowReading) -> float:
        """Return |N|, or the gap where the curvature does not see what bends."""
        curved, gap = abs(reading.noise), reading.gap
        least = max(self.kinks * curved, self._ROUNDINGS * reading.resolution * abs(reading.loss))
        return gap if gap is not None and gap > least else curved

    def _move(self, now: BalanceState, loss: float) -> float:
        """Return f."""
        left, fallen = now.weight * loss, now.weight * (now.first_loss - loss)
        rises = now.progress + self._RISES * math.sqrt(now.variance) < 0.0
        floor = -math.inf if rises else self.floor * max(0.0, min(left, fallen))
        if now.progress < floor and now.noise < self._balance(now, floor):
            return math.log(self.most)
        return self._wanted(now, min(max(now.progress, floor), self.roof * left if left > 0.0 else math.inf))

    def _balance(self, now: BalanceState, progress: float) -> float:
        """Return the noise that is in balance with a progress."""
        return self.target * math.sqrt(now.count) * progress

    def _wanted(self, now: BalanceState, progress: float) -> float:
        """Return f for a progress p*."""
        most = math.log(self.most)
        if progress <= 0.0:
            return -most if now.noise > 0.0 else 0.0
        if now.noise == 0.0:
            return most
        ratio = self._balance(now, progress) / now.noise
        return min(max(self.gain * 0.5 * math.log(ratio), -most), most) if ratio > 0.0 else -most


def _is_number(value: object) -> bool:
    """Whether an argument is a number, infinity included."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


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
