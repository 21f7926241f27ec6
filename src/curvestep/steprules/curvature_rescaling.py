"""Algorithm 1 of de Gournay and Gossard (2022): the step from the slope and the curvature along the direction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, final, get_args

from curvestep._numerics import ratio
from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules._base import RuleState, StepChoice

#: How a negative slope is treated: kept, so that no step is taken, or replaced by its absolute value.
Slope = Literal["signed", "absolute"]


@final
@dataclass(frozen=True)
class CurvatureState:
    """What the rule remembers: ĉ, the moving average of the curvature, and k, how many curvatures it holds."""

    average: float = 0.0
    count: int = 0


@final
@dataclass(frozen=True)
class CurvatureRescaling:
    """r = κ ⟨d, g⟩ / (‖d‖² L̃): the length of step that the curvature along d allows.

    With the curvature per unit length c = mean_s |dᵀ∇²J_s d| / ‖d‖², the mean taken over the mini-batch and the
    absolute value per sample inside it,

        ĉ ← β₃ ĉ + (1−β₃) c,    c̃ = ĉ / (1 − β₃^k),    L̃ = max(c̃, c),    τ = ℓ r.

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
    L̃         ``choice.lipschitz``                       estimate of the gradient's Lipschitz constant
    r         ``choice.rescaling``                       the step τ is ℓ r
    ========  =========================================  ==========================================

    Where the step is not the formula's:

    - The step is never longer than ‖τ d‖ = ``max_relative_step`` · max(‖θ‖, 1): a longer one is shortened to it
      (``CLAMPED``), and where L̃ is zero or too small to divide by it is that length (``FLAT_CURVATURE``).
    - Direction of ascent, ⟨d, g⟩ < 0: with ``slope="signed"`` the parameters stay (``ASCENT_DIRECTION``) while the
      states advance, so that a momentum can turn; with ``slope="absolute"`` the step of |⟨d, g⟩| is taken along d
      (``ABSOLUTE_SLOPE``).
    - ‖d‖ = 0 (``ZERO_DIRECTION``), or a slope or a curvature that is not finite (``NON_FINITE_CURVATURE``): no step,
      and the state stays what it was.

    Args:
        beta3: β₃, without unit, in [0, 1).
        slope: "signed" for directions that descend (gradient, RMSprop), "absolute" for those with momentum.
        constant: κ, without unit, above 0.
        max_relative_step: longest step in units of max(‖θ‖, 1), above 0; without unit.

    Raises:
        ValueError: An argument is out of its range.

    Cost:
        A few operations on floats of the host. The measurements cost one tangent pass over the recording.

    Example:
        For J = 2 θ² at θ = 3 with d = g = 12 the minimum is at τ = ¼, and ℓ = ½ goes there.

        >>> from curvestep._probe import Probe
        >>> probe = Probe(loss=18.0, slope=144.0, curvature=576.0, absolute_curvature=576.0,
        ...               direction_norm_sq=144.0, parameter_norm_sq=9.0)
        >>> rule = CurvatureRescaling()
        >>> 0.5 * rule.choose(probe, ell=0.5, state=rule.init()).rescaling
        0.25

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022: Algorithm 1, lines 4 to 7; the absolute slope is from Appendix C.1, "Step choice".

    Deviations:
        - κ = 2. Line 7 of Algorithm 1 prints r = ⟨d, g⟩ / (2 ‖d‖² L̃) and equation (10) r = ⟨d, g⟩ / (‖d‖² L). Neither
          agrees with what the source says of ℓ: that ℓ = ½ with β₃ = 0 is Newton's method on a convex function of one
          variable, that ℓ = ½ on ½ E‖θ − X‖² lands on the mean of the batch, that ℓ = 1 is the largest step that does
          not increase the loss and ℓ = 2 one that does, and equation (11). All of them hold with κ = 2 and with no
          other constant; the tests hold it to them. ``constant=0.5`` gives the printed line 7, ``constant=1`` (10).
        - The cap on the step, which the source does not have: it lets r be infinite where the curvature vanishes.
    """

    beta3: float = 0.9
    slope: Slope = "signed"
    constant: float = 2.0
    max_relative_step: float = 10.0

    def __post_init__(self) -> None:
        """Refuse arguments that are out of range."""
        if not 0.0 <= self.beta3 < 1.0:
            msg = (
                "beta3 is the decay rate of a moving average and must lie in [0, 1), "
                f"but beta3={self.beta3!r} was given."
            )
            raise ValueError(msg)
        if self.slope not in get_args(Slope):
            msg = f"slope must be 'signed' or 'absolute', but slope={self.slope!r} was given."
            raise ValueError(msg)
        if not (math.isfinite(self.constant) and self.constant > 0.0):
            msg = f"constant must be finite and above 0, but constant={self.constant!r} was given."
            raise ValueError(msg)
        if not (math.isfinite(self.max_relative_step) and self.max_relative_step > 0.0):
            msg = (
                "max_relative_step is the longest step in units of the parameters' norm and must be finite and "
                f"above 0, but max_relative_step={self.max_relative_step!r} was given."
            )
            raise ValueError(msg)

    @property
    def needs(self) -> frozenset[Need]:
        """Slope and mean absolute curvature; the signed curvature comes with it at no cost and is recorded."""
        return frozenset({Need.LOSS, Need.SLOPE, Need.CURVATURE, Need.ABSOLUTE_CURVATURE})

    def init(self) -> RuleState:
        """Return ĉ = 0 and k = 0."""
        return asdict(CurvatureState())

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
        former = CurvatureState(average=float(state["average"]), count=int(state["count"]))
        new = CurvatureState(  # line 5
            average=self.beta3 * former.average + (1.0 - self.beta3) * curvature, count=former.count + 1
        )
        corrected = new.average / (1.0 - self.beta3**new.count)  # line 5
        lipschitz = max(corrected, curvature)  # line 6
        ascends = probe.slope < 0.0
        if ascends and self.slope == "signed":
            return StepChoice(0.0, lipschitz, Outcome.ASCENT_DIRECTION, asdict(new), advances=True)
        outcome = Outcome.ABSOLUTE_SLOPE if ascends else Outcome.TAKEN
        wanted = ratio(self.constant * abs(probe.slope), probe.direction_norm_sq * lipschitz)  # line 7, κ for ½
        longest = self.max_relative_step * max(math.sqrt(probe.parameter_norm_sq), 1.0)
        cap = longest / (ell * math.sqrt(probe.direction_norm_sq))
        if wanted is None:
            # A zero slope asks for no step whatever the curvature is.
            rescaling, outcome = (cap, Outcome.FLAT_CURVATURE) if probe.slope != 0.0 else (0.0, outcome)
        elif wanted > cap:
            rescaling, outcome = cap, Outcome.CLAMPED
        else:
            rescaling = wanted
        return StepChoice(rescaling, lipschitz, outcome, asdict(new), advances=True)


def _refusal(outcome: Outcome, state: RuleState) -> StepChoice:
    """Return the choice of no step and no change of state."""
    return StepChoice(rescaling=0.0, lipschitz=None, outcome=outcome, state=state, advances=False)
