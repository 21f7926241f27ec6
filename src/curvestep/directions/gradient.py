"""The gradient itself as direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep.directions._base import Corrections, Proposal, State


@final
@dataclass(frozen=True)
class Gradient:
    """d = g, with no state.

    Cost:
        None: the gradients are returned, not copied.

    Example:
        >>> import torch
        >>> Gradient().propose([torch.tensor([3.0])], [{}]).direction
        [tensor([3.])]

    Source:
        de Gournay and Gossard (2022), Algorithm 3, line 10 with P = Id.
    """

    def init(self, parameter: Tensor) -> State:
        """Return the empty state."""
        del parameter
        return {}

    def corrections(self, step: int) -> tuple[float, ...]:
        """Return nothing: d does not depend on k."""
        del step
        return ()

    def propose(
        self, gradients: Sequence[Tensor], states: Sequence[State], corrections: Sequence[Corrections] | None = None
    ) -> Proposal:
        """Return the gradients."""
        del corrections
        return Proposal(list(gradients), [{} for _ in states])

    def absorb(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return the gradients; there is no state."""
        del states
        return list(gradients)
