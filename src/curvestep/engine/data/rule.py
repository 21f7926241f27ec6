"""What is true of an operation, as a record: its row in the tables of `curvestep.engine.rules`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final


class Kind(enum.Enum):
    """How an operation depends on its differentiable inputs."""

    LINEAR = "linear in all of them together"
    MULTILINEAR = "linear in each factor on its own"
    NONLINEAR = "anything else"
    CONSTANT = "piecewise constant: the derivative is zero wherever it exists"


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """How one operation differentiates: its jets, the sample axis of its outputs, and what it needs kept.

    Its functions take a `Site` or an `AxisSite` of `curvestep.engine.rules.table`. One of `propagate` and `formula` is
    there; where both are, the formula serves the sites for which `propagate` returns None.
    """

    kind: Kind
    propagate: Callable[[Any], Any] | None  # site → jets of the outputs
    axis: Callable[[Any], Any]  # axis site → where the samples are in the outputs
    factors: tuple[int, ...] = ()  # arguments that count as factors of a MULTILINEAR operation
    keep_inputs: tuple[int, ...] = ()  # arguments whose values a NONLINEAR rule reads
    keep_outputs: tuple[int, ...] = ()  # outputs whose values a rule reads
    couples: Callable[[Any], bool] | None = None  # axis site → whether one sample's output depends on other samples
    formula: Callable[..., Any] | None = None  # the operation written with operations that have rules
    rerun: Callable[[Any, tuple[Any, ...], bool], Any] | None = None  # how a replay runs it: site, arguments, watched
    may_read: Callable[[Sequence[Any], Any], bool] | None = None  # arguments, output → whether a rule may want it

    def curved(self, live: Sequence[bool]) -> bool:
        """Whether the operation has a second derivative, given which arguments carry gradients."""
        if self.kind is Kind.NONLINEAR:
            return True
        return self.kind is Kind.MULTILINEAR and sum(live[i] for i in self.factors if i < len(live)) > 1
