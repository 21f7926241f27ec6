"""The step to the minimum of the parabola through three losses along the direction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, final, get_args

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import LineRequest, RuleState, StepChoice

#: Which batch the parabola is measured on: that of the direction, or the one after it.
Batch = Literal["same", "next"]

# Factor and most rounds of the search for the first step and of the retreat from losses that are not finite.
_STRIDE = 4.0
_MOST_ROUNDS = 16
# Roundings in a second difference of losses.
_ROUNDINGS = 8.0


@final
@dataclass(frozen=True)
class LocalQuadraticState:
    """The rule's state: r and τ of the last step, and the number of steps; r = 0 before the first."""

    rescaling: float = 0.0
    step: float = 0.0
    count: int = 0


@final
@dataclass(frozen=True)
class Parabola:
    """J(θ − δ d) ≈ J₀ − b δ + a δ², from the losses at −δ₀, 0 and δ₀."""

    slope: float  # b
    bend: float  # a, half the curvature; 0 where it is lost in the rounding of the losses

    @staticmethod
    def through(behind: float, here: float, ahead: float, distance: float, resolution: float) -> Parabola | None:
        """Return the parabola through J(θ + δ₀ d), J(θ) and J(θ − δ₀ d); None where a loss is not finite."""
        if not (math.isfinite(behind) and math.isfinite(here) and math.isfinite(ahead)):
            return None
        second = ahead + behind - 2.0 * here
        rounding = _ROUNDINGS * resolution * max(abs(behind), abs(here), abs(ahead))
        bend = second / (2.0 * distance**2) if abs(second) > rounding else 0.0
        return Parabola((behind - ahead) / (2.0 * distance), bend)

    @property
    def minimum(self) -> float:
        """δ⋆ = b / 2a, infinite where the parabola has no minimum on the side of the step."""
        return self.slope / (2.0 * self.bend) if self.bend > 0.0 and self.slope > 0.0 else math.inf


@final
@dataclass(frozen=True)
class LocalQuadratic:
    """r = 2 δ⋆ with δ⋆ = b / 2a the minimum of the parabola J₀ − b δ + a δ² through three losses along d.

    With J₋ = J(θ − δ₀ d), J₀ = J(θ), J₊ = J(θ + δ₀ d),

        a = (J₊ + J₋ − 2 J₀) / (2 δ₀²),    b = (J₊ − J₋) / (2 δ₀),    δ⋆ = (δ₀/2) (J₊ − J₋) / (J₊ + J₋ − 2 J₀).

    The step τ = ℓ r is at the minimum for ℓ = ½, as in `CurvatureRescaling`. The probe δ₀ is ``probe`` times the δ⋆ of
    the last measurement, so that it follows the scale of the steps. With a weight β of the past,

        r ← β r + (1−β) · clip(2 δ⋆, [c₁ r, c₂ r]).

    =======  ==================================  ==========================================================
    symbol   name                                meaning
    =======  ==================================  ==========================================================
    δ₀       ``probe`` · ``state["rescaling"]``/2  how far from θ the two losses are measured, in units of d
    β        ``smoothing``                       weight of the past
    c₁, c₂   ``change``                          how much one measurement may change the step
    J₋, J₊   ``probe.line``                      losses along d, or along the last step
    r        ``choice.rescaling``                the step τ is ℓ r
    =======  ==================================  ==========================================================

    Where the step is not the formula's:

    - 2 δ⋆ above c₂ r or below c₁ r is brought back to it (``LIMITED``).
    - The parabola opens down, or its bend is lost in the rounding of the losses: c₂ r, the longest step that ``change``
      allows, or the former r where ``keep`` is set (``OPENS_DOWN``).
    - J rises towards −d by this measurement, b ≤ 0, though ⟨g, d⟩ > 0, or a loss is not finite: the probe was too long;
      it is measured again at a quarter, at most 16 times. Where it stays not finite, no step
      (``NON_FINITE_CURVATURE``).
    - Direction of ascent, ⟨g, d⟩ ≤ 0 and b ≤ 0: the former r (``KEPT``).
    - With ``every`` > 1 the steps in between take the former r (``KEPT``).
    - The first step has no r: without ``initial`` the probe starts at ‖δ₀ d‖ = 10⁻³ max(‖θ‖, 1) and changes by
      factors of at most 4 until δ⋆ lies within a factor of 4 of it, at most 16 times; δ⋆ is then taken as it is.

    With ``batch="next"`` the parabola is that of the last step u = τ d on the batch after it: J(θ), J(θ + u) and
    J(θ + 2u), two replays, give the minimum on a batch that d does not depend on. It sets r for this step and the
    next ones, one step late; at the first step r is ``initial``.

    Args:
        probe: Distance of the probes in units of δ⋆, above 0.
        every: The parabola is measured on every ``every``-th step, at least 1; the first step is one of them.
        batch: "same" or "next".
        smoothing: β, without unit, in [0, 1).
        change: c₁ and c₂, without unit, 0 < c₁ ≤ 1 ≤ c₂.
        keep: Whether a parabola that opens down leaves r unchanged.
        initial: δ⋆ before the first measurement, in units of d, above 0; or None to search. "next" needs it.

    Raises:
        ValueError: An argument is out of its range.

    Cost:
        Two forward passes and one host synchronisation on a step that measures; a dozen of each on the first.

    Example:
        J = 2 θ² at θ = 3 with d = g = 12: the probes at ±0.2 find the minimum at ¼, as any others would.

        >>> from curvestep.steprules import LineSample, Probe
        >>> line = (LineSample(0.2, 2 * (3 - 2.4) ** 2), LineSample(-0.2, 2 * (3 + 2.4) ** 2))
        >>> probe = Probe(18.0, 144.0, None, None, 144.0, 9.0, line=line)
        >>> rule = LocalQuadratic(initial=0.2)
        >>> round(0.5 * rule.choose(probe, ell=0.5, state=rule.init()).rescaling, 12)
        0.25

    Source:
        Y. Zhu, D. Chen, Y. Huang, H. Zhang and H. Wang, "Automatic, dynamic, and nearly optimal learning rate
        specification by local quadratic approximation" (arXiv 2004.03260) for the parabola; Z. Bu and S. Xu, "Automatic
        gradient descent with generalized Newton's method", ICLR 2025 (arXiv 2407.02772) for any direction, the fresh
        batch, laziness, averaging and clipping.

    Deviations:
        - The probe follows the step, while in the first source it falls with the epochs from a tuned start.
        - The step where there is no minimum. The text of the first source does not say; its released code takes 1.05
          δ₀. Other departures of that code from the formula (a reversed sign, weights left at a probe, a probe and a
          step along directions of different length) are not repeated.
        - ``batch="next"``: the second source draws a further batch for each parabola and uses it for the very step it
          is measured on; here it is the next batch of the run, one step later. u does not contain decoupled weight
          decay.
    """

    probe: float = 1.0
    every: int = 1
    batch: Batch = "same"
    smoothing: float = 0.0
    change: tuple[float, float] = (0.01, 2.0)
    keep: bool = False
    initial: float | None = None

    def __post_init__(self) -> None:
        """Refuse arguments that are out of range."""
        if not (math.isfinite(self.probe) and self.probe > 0.0):
            msg = f"probe is a multiple of the last step and must be above 0, but probe={self.probe!r} was given."
            raise ValueError(msg)
        if not (isinstance(self.every, int) and not isinstance(self.every, bool) and self.every >= 1):
            msg = f"every is a number of steps and must be a whole number of at least 1, but {self.every!r} was given."
            raise ValueError(msg)
        if self.batch not in get_args(Batch):
            msg = f"batch must be 'same' or 'next', but batch={self.batch!r} was given."
            raise ValueError(msg)
        if not 0.0 <= self.smoothing < 1.0:
            msg = f"smoothing is the weight of the past and must lie in [0, 1), but {self.smoothing!r} was given."
            raise ValueError(msg)
        if not (isinstance(self.change, (tuple, list)) and len(self.change) == 2) or not (
            0.0 < self.change[0] <= 1.0 <= self.change[1] < math.inf
        ):
            msg = (
                "change is the pair of the least and the largest factor on the step, with 0 < least ≤ 1 ≤ largest, but "
                f"change={self.change!r} was given."
            )
            raise ValueError(msg)
        if self.initial is not None and not (math.isfinite(self.initial) and self.initial > 0.0):
            msg = f"initial is the first step and must be finite and above 0, or None, but {self.initial!r} was given."
            raise ValueError(msg)
        if self.batch == "next" and self.initial is None:
            msg = "batch='next' measures the last step and needs one to begin with: give initial."
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """Losses along the line; the last step where the next batch judges it; the norm for a search to start with."""
        needs = {Need.LOSS, Need.SLOPE, Need.LINE}
        if self.batch == "next":
            needs.add(Need.LAST_STEP)
        if self.initial is None:
            needs.add(Need.PARAMETER_NORM)
        return frozenset(needs)

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the step after ``state`` needs: the slope alone where nothing is to be measured."""
        if not self._is_due(int(state["count"]), float(state["step"])):
            return frozenset({Need.SLOPE})
        return self.needs if float(state["rescaling"]) == 0.0 else self.needs - {Need.PARAMETER_NORM}

    def _is_due(self, count: int, step: float) -> bool:
        """Whether the step after this number of steps, the last of this length, is measured."""
        return count % self.every == 0 and (self.batch == "same" or step > 0.0)

    def init(self) -> RuleState:
        """Return r = 2 δ⋆ of ``initial``, or 0 where it is to be searched."""
        return asdict(LocalQuadraticState(rescaling=2.0 * (self.initial or 0.0)))

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return r, or ask for losses along the line; see the class."""
        former = LocalQuadraticState(float(state["rescaling"]), float(state["step"]), int(state["count"]))
        if probe.direction_norm_sq == 0.0:
            return StepChoice(0.0, None, Outcome.ZERO_DIRECTION, state, advances=False)
        if not (math.isfinite(probe.slope) and math.isfinite(probe.direction_norm_sq)):
            return StepChoice(0.0, None, Outcome.NON_FINITE_CURVATURE, state, advances=False)
        found = former.rescaling, Outcome.KEPT
        if self._is_due(former.count, former.step):
            answer = self._on_last_step(probe, former) if self.batch == "next" else self._along(probe, former)
            if isinstance(answer, LineRequest):
                return answer
            if answer is None:
                return StepChoice(0.0, None, Outcome.NON_FINITE_CURVATURE, state, advances=False)
            found = answer
        rescaling, outcome = found
        new = LocalQuadraticState(rescaling, ell * rescaling, former.count + 1)
        return StepChoice(rescaling, None, outcome, asdict(new), advances=True)

    def _along(self, probe: Probe, former: LocalQuadraticState) -> LineRequest | tuple[float, Outcome] | None:
        """Return r and its outcome from the losses along d; None where they are not finite."""
        searching = former.rescaling == 0.0
        distance = 0.5 * self.probe * former.rescaling
        if searching:
            distance = 1e-3 * max(math.sqrt(probe.parameter_norm_sq), 1.0) / math.sqrt(probe.direction_norm_sq)
        losses = {sample.step: sample.loss for sample in probe.line}
        parabola = None
        for rounds in range(_MOST_ROUNDS):
            if distance not in losses:
                return LineRequest((distance, -distance))
            parabola = Parabola.through(losses[-distance], probe.loss, losses[distance], distance, probe.resolution)
            if parabola is None or (parabola.slope <= 0.0 < probe.slope):
                distance /= _STRIDE
            elif searching and rounds < _MOST_ROUNDS - 1 and not distance / 4 <= parabola.minimum <= 4 * distance:
                distance *= min(max(parabola.minimum / distance, 1.0 / _STRIDE), _STRIDE)
            else:
                break
        if parabola is None:
            return None
        return self._judged(parabola, 2.0 * distance if searching else former.rescaling, 1.0, searching)

    def _on_last_step(self, probe: Probe, former: LocalQuadraticState) -> LineRequest | tuple[float, Outcome]:
        """Return r and its outcome from the losses of this batch along the last step."""
        losses = {sample.step: sample.loss for sample in probe.line}
        if -1.0 not in losses:
            return LineRequest((-1.0, -2.0), along="last step")
        parabola = Parabola.through(losses[-2.0], losses[-1.0], probe.loss, 1.0, probe.resolution)
        if parabola is None:
            return former.rescaling, Outcome.KEPT
        return self._judged(parabola, former.rescaling, former.step, searching=False)

    def _judged(self, parabola: Parabola, former: float, unit: float, searching: bool) -> tuple[float, Outcome]:
        """Return r and its outcome for a parabola whose distances are in the given unit."""
        low, high = (factor * former for factor in self.change)
        if parabola.slope <= 0.0:
            return former, Outcome.KEPT
        if parabola.bend <= 0.0:
            target, outcome = (former if self.keep else high), Outcome.OPENS_DOWN
        else:
            wanted = 2.0 * parabola.minimum * unit
            target = wanted if searching else min(max(wanted, low), high)
            outcome = Outcome.TAKEN if target == wanted else Outcome.LIMITED
        weight = 0.0 if searching else self.smoothing
        return weight * former + (1.0 - weight) * target, outcome
