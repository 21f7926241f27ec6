"""The gradient itself as direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep.directions._base import State


@final
@dataclass(frozen=True)
class Gradient:
    """d = g, with no state.

    Cost:
        None: the gradients are handed on, not copied.

    Example:
        >>> import torch
        >>> Gradient().propose([torch.tensor([3.0])], [{}])
        [tensor([3.])]

    Source:
        de Gournay and Gossard (2022), Algorithm 3, line 10 with P = Id.
    """

    def init(self, parameter: Tensor) -> State:
        """Return the empty state."""
        del parameter
        return {}

    def propose(self, gradients: Sequence[Tensor], states: Sequence[State]) -> list[Tensor]:
        """Return the gradients."""
        del states
        return list(gradients)

    def advance(self, gradients: Sequence[Tensor], states: Sequence[State]) -> None:
        """Do nothing: there is no state."""
