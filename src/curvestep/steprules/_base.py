"""The contract of a step rule: how far to go along a direction, given measurements and the rule's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from curvestep._probe import Need, Probe
from curvestep._records import Outcome

#: A rule's own state between steps: plain floats and integers under constant names, so that it survives
#: ``state_dict`` and ``torch.load(weights_only=True)``. Rules convert it to and from a typed record.
RuleState = dict[str, float | int]


@dataclass(frozen=True)
class StepChoice:
    """How far to go, and the state to keep if the step is carried out.

    Attributes:
        rescaling: r; the step is τ = ℓ r. 0 where no step is to be taken.
        lipschitz: L̃, the curvature per unit length that r was computed from, or None.
        outcome: what the choice amounts to.
        state: the rule's state after this step; the former one where the outcome is a refusal.
        advances: whether the direction's state is to absorb this gradient.
    """

    rescaling: float
    lipschitz: float | None
    outcome: Outcome
    state: RuleState
    advances: bool


@dataclass(frozen=True)
class LineRequest:
    """What a rule returns instead of a choice where it needs the loss at further points of the line.

    Attributes:
        steps: the t at which J(θ − t d) is wanted, in units of d; ``choose`` is called again with them in
            ``probe.line``.
        along: "direction", or "last step" for J(θ − t u) with u the step that led to θ; a rule that asks for it has
            ``Need.LAST_STEP`` among its needs.
    """

    steps: tuple[float, ...]
    along: Literal["direction", "last step"] = "direction"


class StepRule(Protocol):
    """Chooses r for the update θ ← θ − ℓ r d from a probe and its state alone; it does not depend on a model."""

    @property
    def needs(self) -> frozenset[Need]:
        """The measurements that ``choose`` reads."""
        ...

    def needs_at(self, state: RuleState) -> frozenset[Need]:
        """Return what ``choose`` reads after ``state``: all of ``needs``, or less on a step that measures less.

        Args:
            state: The rule's state before the step.
        """
        ...

    def init(self) -> RuleState:
        """Return the state before the first step."""
        ...

    def choose(self, probe: Probe, ell: float, state: RuleState) -> StepChoice | LineRequest:
        """Return r for this probe at the level ℓ > 0, or ask for the loss along the line and be called again.

        Pure: ``state`` is not written to, and the same probe gives the same answer.

        Args:
            probe: What was measured, ``needs_at(state)`` and no more.
            ell: ℓ.
            state: The rule's state before the step.
        """
        ...
