"""The first step that each optimizer of curvestep would take."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from torch import Tensor

from curvestep.diagnostics.findings import Suggestion
from curvestep.optim import RescaledAdam, RescaledRMSprop, RescaledSGD

LEVELS = (0.5, 1.0)


def suggest_steps(
    compute: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    start: Callable[[], None],
    progress: Callable[[str], None],
) -> tuple[Suggestion, ...]:
    """Return the step of each optimizer at each level, every one from the start."""
    found: list[Suggestion] = []
    for kind in (RescaledSGD, RescaledRMSprop, RescaledAdam):
        for ell in LEVELS:
            progress(f"first step of {kind.__name__} at ℓ = {ell:g}")
            start()
            optimizer = kind(parameters, lr=ell)
            with optimizer.record():
                compute().backward()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # an unknown batch size is among the notes
                optimizer.step()
            step = optimizer.last_step
            assert step is not None
            found.append(Suggestion(kind.__name__, ell, step.step_size, step.outcome.value))
    return tuple(found)
