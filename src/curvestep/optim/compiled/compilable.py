"""What a compiled step reads of its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from curvestep._records import Outcome, StepRecord
from curvestep.directions import Direction
from curvestep.optim._options import Measure
from curvestep.steprules import StepRule


class Compilable(Protocol):
    """An optimizer made of a direction and a step rule, as `curvestep.optim` has them."""

    param_groups: list[dict[str, Any]]
    state: Any
    last_step: StepRecord | None
    _optimizer_step_pre_hooks: Any
    _optimizer_step_post_hooks: Any

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step from a closure."""
        ...

    def _current_rule(self) -> StepRule: ...

    def _rule_state(self) -> dict[str, Any]: ...

    def _direction(self, group: dict[str, Any]) -> Direction: ...

    def _measure(self) -> Measure: ...

    def _steps(self) -> int: ...

    def _parameters(self) -> list[Tensor]: ...

    def _ell(self) -> float: ...

    def _report(self, step: StepRecord, former: dict[str, int]) -> None: ...

    def _stopped(self, outcome: Outcome, ell: float, loss: float | None) -> StepRecord: ...

    def _refuse_averaged(self) -> None: ...

    def _drop_recordings(self) -> None: ...

    def _is_compilable(self) -> bool: ...
