"""Algorithm 1 of de Gournay and Gossard (2022): the step from the slope and the curvature along the direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final, get_args

from curvestep._numerics import ratio
from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import RuleState, StepChoice

#: How a negative slope is treated: kept, so that no step is taken; replaced by its absolute value; or averaged over
#: the steps with its sign.
Slope = Literal["signed", "absolute", "smoothed"]


_NEEDS = frozenset({Need.LOSS, Need.SLOPE, Need.CURVATURE, Need.ABSOLUTE_CURVATURE})


@final
@dataclass(frozen=True)
class CurvatureState:
    """What the rule remembers.

    Attributes:
        average: ĉ.
        count: k, how many curvatures ĉ holds.
        slope: ŝ, the average of the slope if it is smoothed.
        reach: max(‖θ₀‖, 1) of the first step's parameters, which the longest step is measured in; 0 before it.
    """

    average: float = 0.0
    count: int = 0
    slope: float = 0.0
    reach: float = 0.0


@final
@dataclass(frozen=True)
class CurvatureRescaling:
    """r = κ ⟨d, g⟩ / (‖d‖² L̃): the length of step that the curvature along d allows.

    With the curvature per unit length c = mean_s |dᵀ∇²J_s d| / ‖d‖², the mean taken over the mini-batch and the
    absolute value per sample inside it,

        ĉ ← β₃ ĉ + (1−β₃) c,    c̃ = ĉ / (1 − β₃^k),    L̃ = max(c̃, c),    τ = ℓ r.

    With ``slope="smoothed"`` the slope per unit length is averaged with its sign, s = ⟨d, g⟩ / ‖d‖,

        ŝ ← β₄ ŝ + (1−β₄) s,    s̃ = ŝ / (1 − β₄^k),    r = κ s̃ / (‖d‖ L̃).

    ℓ = ½ goes to the minimum of the parabola that has this slope and the curvature L̃; ℓ = 1 to its far side, where the
    loss is the same as at the start; ℓ > 1 beyond it. r d does not depend on the length of d.

    ========  =========================================  ==========================================
    symbol    name                                       meaning
    ========  =========================================  ==========================================
    β₃        ``beta3``                                  decay of the average of c
    κ         ``constant``                               2, see Deviations
    ⟨d, g⟩    ``probe.slope``                            slope along d
    mean_s    ``probe.absolute_curvature``               mean over samples of the absolute curvature
    ĉ, k      ``state["average"]``, ``state["count"]``   moving average of c, number of its terms
    β₄        ``slope_decay``                            decay of the average of s
    ŝ         ``state["slope"]``                         moving average of s
    ‖θ₀‖      ``state["reach"]``                         norm of the parameters at the first step, at least 1
    λ₀        ``floor``                                  L̃ is never below it
    α, β, δ   ``band``                                   α ≤ τ k^δ ≤ β
    L̃         ``choice.lipschitz``                       estimate of the gradient's Lipschitz constant
    r         ``choice.rescaling``                       the step τ is ℓ r
    ========  =========================================  ==========================================

    Where the step is not the formula's:

    - The step is never longer than ‖τ d‖ = ``max_relative_step`` · max(‖θ₀‖, 1), θ₀ the parameters at the first step,
      so that the limit does not grow with the parameters: a longer one is shortened to it (``CLAMPED``), and where L̃ is
      zero or too small to divide by it is that length (``FLAT_CURVATURE``).
    - With a ``floor`` λ₀, L̃ = max(c̃, c, λ₀). The L2 term λ/2 ‖θ‖² shifts every eigenvalue of the Hessian by λ, so λ is
      its natural value.
    - With a ``band`` (α, β, δ) a step with τ k^δ outside [α, β] is moved to the nearest end (``OUT_OF_BAND``), before
      the cap is applied; τ has the unit of a learning rate, so that α and β depend on the length of d.
    - Direction of ascent, ⟨d, g⟩ < 0 (smoothed: s̃ < 0): with ``slope="signed"`` and "smoothed" the parameters stay
      (``ASCENT_DIRECTION``) while the states advance, so that a momentum can turn; with ``slope="absolute"`` the step
      of |⟨d, g⟩| is taken along d (``ABSOLUTE_SLOPE``).
    - ‖d‖ = 0 (``ZERO_DIRECTION``), or a slope or a curvature that is not finite (``NON_FINITE_CURVATURE``): no step
      and no change of state.

    Args:
        beta3: β₃, without unit, in [0, 1).
        slope: "signed" for directions that descend (gradient, RMSprop), "absolute" or "smoothed" for those with
            momentum.
        constant: κ, without unit, above 0.
        max_relative_step: longest step in units of max(‖θ₀‖, 1), above 0; without unit. Infinite for no such limit, and
            an infinite r where the curvature is zero: only for a rule around this one that limits the step.
        slope_decay: β₄, without unit, in [0, 1); read only where the slope is smoothed.
        floor: λ₀, in the unit of the curvature, at least 0.
        band: (α, β, δ) with 0 ≤ α ≤ β, β above 0 and ½ < δ < 1, or None.

    Raises:
        ValueError: An argument is out of its range.

    Cost:
        A few operations on floats of the host. The measurements cost one tangent pass over the recording.

    Example:
        For J = 2 θ² at θ = 3 with d = g = 12 the minimum is at τ = ¼, and ℓ = ½ goes there.

        >>> from curvestep.steprules import Probe
        >>> probe = Probe(loss=18.0, slope=144.0, curvature=576.0, absolute_curvature=576.0,
        ...               direction_norm_sq=144.0, parameter_norm_sq=9.0)
        >>> rule = CurvatureRescaling()
        >>> 0.5 * rule.choose(probe, ell=0.5, state=rule.init()).rescaling
        0.25

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022: Algorithm 1, lines 4 to 7; the absolute slope is from Appendix C.1, "Step choice"; the band is
        equation (12).

    Deviations:
        - κ = 2. Line 7 of Algorithm 1 prints r = ⟨d, g⟩ / (2 ‖d‖² L̃) and equation (10) r = ⟨d, g⟩ / (‖d‖² L). Neither
          agrees with what the source says of ℓ: that ℓ = ½ with β₃ = 0 is Newton's method on a convex function of one
          variable, that ℓ = ½ on ½ E‖θ − X‖² lands on the mean of the batch, that ℓ = 1 is the largest step that does
          not increase the loss and ℓ = 2 one that does, and equation (11). All of them hold with κ = 2 and with no
          other constant; the tests hold it to them. ``constant=0.5`` gives the printed line 7, ``constant=1`` (10).
        - The smoothed slope and the floor are not in the source; both are off by default.
        - The cap on the step. In the source r is infinite where the curvature vanishes.
    """

    beta3: float = 0.9
    slope: Slope = "signed"
    constant: float = 2.0
    max_relative_step: float = 10.0
    slope_decay: float = 0.9
    floor: float = 0.0
    band: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse arguments that are out of range."""
        for name in ("beta3", "slope_decay"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                msg = (
                    f"{name} is the decay rate of a moving average and must lie in [0, 1), but {name}={value!r} was "
                    "given."
                )
                raise ValueError(msg)
        if self.slope not in get_args(Slope):
            msg = f"slope must be 'signed', 'absolute' or 'smoothed', but slope={self.slope!r} was given."
            raise ValueError(msg)
        if not (math.isfinite(self.constant) and self.constant > 0.0):
            msg = f"constant must be finite and above 0, but constant={self.constant!r} was given."
            raise ValueError(msg)
        if not self.max_relative_step > 0.0:
            msg = (
                "max_relative_step is the longest step in units of the parameters' norm and must be "
                f"above 0, but max_relative_step={self.max_relative_step!r} was given."
            )
            raise ValueError(msg)
        if not (math.isfinite(self.floor) and self.floor >= 0.0):
            msg = (
                "floor is the least value of the estimated curvature and must be finite and at least 0, but "
                f"floor={self.floor!r} was given."
            )
            raise ValueError(msg)
        if self.band is not None and not _is_band(self.band):
            msg = (
                "band holds the numbers (α, β, δ) of α ≤ τ k^δ ≤ β with 0 ≤ α ≤ β, β above 0 and finite, and "
                f"½ < δ < 1, but band={self.band!r} was given."
            )
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """Slope and mean absolute curvature; the signed curvature comes with it at no cost and is recorded.

        The norm of the parameters too, where there is a cap in units of it.
        """
        return _NEEDS | {Need.PARAMETER_NORM} if math.isfinite(self.max_relative_step) else _NEEDS

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what the step after ``state`` needs: the norm of the parameters at the first one alone."""
        return _NEEDS if float(state.get("reach", 0.0)) > 0.0 else self.needs

    def init(self) -> RuleState:
        """Return ĉ = 0 and k = 0, ŝ = 0 where the slope is smoothed, and no reach yet where there is a cap."""
        return self._state(CurvatureState())

    def average(self, state: RuleState) -> float:
        """Return c̃, the bias-corrected average.

        Args:
            state: The rule's state after at least one measured step.
        """
        return float(state["average"]) / (1.0 - self.beta3 ** int(state["count"]))

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice:
        """Return r and the new average; see the class."""
        if probe.direction_norm_sq == 0.0:
            return _refusal(Outcome.ZERO_DIRECTION, state)
        measured = probe.absolute_curvature
        if measured is None:
            msg = "Curvature rescaling needs the mean absolute curvature, but the probe holds None: measure it first."
            raise ValueError(msg)
        if not (math.isfinite(probe.slope) and math.isfinite(measured) and math.isfinite(probe.direction_norm_sq)):
            return _refusal(Outcome.NON_FINITE_CURVATURE, state)
        curvature = ratio(measured, probe.direction_norm_sq)  # Algorithm 1, line 4
        if curvature is None:
            return _refusal(Outcome.NON_FINITE_CURVATURE, state)
        length = math.sqrt(probe.direction_norm_sq)
        former = CurvatureState(state["average"], int(state["count"]), state.get("slope", 0.0), state.get("reach", 0.0))
        new = CurvatureState(  # line 5
            average=self.beta3 * former.average + (1.0 - self.beta3) * curvature,
            count=former.count + 1,
            slope=self.slope_decay * former.slope + (1.0 - self.slope_decay) * probe.slope / length,
            reach=self._reach(former, probe),
        )
        corrected = new.average / (1.0 - self.beta3**new.count)  # line 5
        lipschitz = max(corrected, curvature, self.floor)  # line 6
        slope = probe.slope
        if self.slope == "smoothed":
            slope = length * new.slope / (1.0 - self.slope_decay**new.count)
        ascends = slope < 0.0
        if ascends and self.slope != "absolute":
            return StepChoice(0.0, lipschitz, Outcome.ASCENT_DIRECTION, self._state(new), advances=True)
        outcome = Outcome.ABSOLUTE_SLOPE if ascends else Outcome.TAKEN
        wanted = ratio(self.constant * abs(slope), probe.direction_norm_sq * lipschitz)  # line 7, κ for ½
        cap = math.inf
        if math.isfinite(self.max_relative_step):
            cap = self.max_relative_step * new.reach / (ell * length)
        if wanted is None:
            # A zero slope gives no step, whatever the curvature.
            rescaling, outcome = (math.inf, Outcome.FLAT_CURVATURE) if slope != 0.0 else (0.0, outcome)
        else:
            rescaling = wanted
        if self.band is not None and rescaling > 0.0:  # equation (12)
            low, high = (end / (ell * new.count ** self.band[2]) for end in self.band[:2])
            if not low <= rescaling <= high:
                rescaling, outcome = min(max(rescaling, low), high), Outcome.OUT_OF_BAND
        if rescaling > cap:
            rescaling = cap
            outcome = outcome if outcome is Outcome.FLAT_CURVATURE else Outcome.CLAMPED
        return StepChoice(rescaling, lipschitz, outcome, self._state(new), advances=True)

    def _reach(self, former: CurvatureState, probe: Probe) -> float:
        """Return the unit of the longest step, measured once."""
        if former.reach > 0.0 or math.isinf(self.max_relative_step):
            return former.reach
        return max(math.sqrt(probe.parameter_norm_sq), 1.0)

    def _state(self, new: CurvatureState) -> RuleState:
        """Return the record as what is saved: without what is not read."""
        saved: RuleState = {"average": new.average, "count": new.count}
        if self.slope == "smoothed":
            saved["slope"] = new.slope
        if math.isfinite(self.max_relative_step):
            saved["reach"] = new.reach
        return saved


def _is_band(band: object) -> bool:
    """Whether this is a triple (α, β, δ) in range."""
    if not (isinstance(band, (tuple, list)) and len(band) == 3):
        return False
    if not all(isinstance(number, (int, float)) for number in band):
        return False
    low, high, exponent = band
    return 0.0 <= low <= high < math.inf and high > 0.0 and 0.5 < exponent < 1.0


def _refusal(outcome: Outcome, state: RuleState) -> StepChoice:
    """Return the choice of no step and no change of state."""
    return StepChoice(rescaling=0.0, lipschitz=None, outcome=outcome, state=state, advances=False)
