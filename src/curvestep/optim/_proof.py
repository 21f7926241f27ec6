"""The self-check of a measured step: the slope of the recorded loss must be that of the gradient in `p.grad`.

A pass over the recordings gives ⟨∇J, d⟩ from the tape, and the gradient that backward left gives it from autograd. They
agree to rounding wherever the recorded loss is the one whose gradient is stepped, and nowhere else: another
micro-batch, a factor on the loss, a hook or a write that the recording did not see, or another process's share each
shows as a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch.distributed as dist
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep._numerics import squares
from curvestep._shards import aligned, any_sharded, counted, locals_of
from curvestep.engine.passes.proof import OF_A_STEP, allowed

#: Name of the tape's ⟨∇J, d⟩ among the numbers of a step.
RECORDED_SLOPE = "recorded_slope"
#: Name in every parameter group of how far, in units of ‖d‖, the slopes were apart where a closer look showed it to be
#: rounding, which has this size whatever is left of the gradient. Up to twice as far nobody looks again; it fades, to a
#: half in 34 measured steps, so that somebody does after a while.
SLOPE_ROUNDING = "slope_rounding"
_FADES = 0.98
#: Name of how many sharded gradients were written to since, over the processes.
CHANGES = "changes"
#: Name of ‖p.grad‖² as the recorded backward left it.
LEFT_NORM_SQ = "left_norm_sq"
#: Name of ‖p.grad‖² as it was before the first backward since the last step, 0 where gradients were cleared.
FORMER_NORM_SQ = "former_norm_sq"

_MORE = (
    "The gradient holds more than the recorded loss: was there a backward before it that was not recorded? Record the "
    "forward and backward of every micro-batch (curvestep.attach does it without a line in the loop), and clear the "
    "gradients after each step."
)


@final
@dataclass(frozen=True)
class Left:
    """`p.grad` as the recorded backward left it, so that what happens to it before the step is seen.

    Attributes:
        gradients: each gradient with its version.
        squares: their squared norms, on their devices.
        former: the squared norms of what was there before, and belongs to no recording.
    """

    gradients: list[tuple[Tensor, int]]
    squares: list[Tensor]
    former: list[Tensor]

    @classmethod
    def by_backward(cls, parameters: Sequence[Tensor], former: list[Tensor]) -> Left:
        """Note the gradients that there are."""
        held = _held(parameters)
        return cls([(g, g._version) for _, g in held], _norms(held), former)

    def is_changed(self, parameters: Sequence[Tensor]) -> bool:
        """Whether a gradient was replaced or written since: clipped, unscaled, averaged."""
        found = gradients_of(parameters)
        return len(found) != len(self.gradients) or any(
            [
                now is not then or now._version != version
                for now, (then, version) in zip(found, self.gradients, strict=True)
            ]
        )

    def changes(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return for each gradient whether its norm is another one now, as a number: shards do not count writes."""
        now = norms_of(parameters)
        return [(new != old).to(new.dtype) for new, old in zip(now, self.squares, strict=True)]


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the dense gradients of the parameters that move."""
    return [g for p, g in _held(parameters)]


def norms_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return ‖p.grad‖² of those that have one; of a sharded one what its mean over the processes is."""
    return _norms(_held(parameters))


def _norms(held: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return ‖p.grad‖² of each."""
    gradients = [g.detach() if g.requires_grad else g for _, g in held]
    parameters = [p for p, _ in held]
    if not any_sharded(parameters):
        return squares(locals_of(gradients))
    gradients = [aligned(g, p) for g, p in zip(gradients, parameters, strict=True)]
    return list(counted(squares(locals_of(gradients)), parameters))


def _held(parameters: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters that move and have a dense gradient, with it."""
    return [(p, g) for p in parameters if (g := p.grad) is not None and p.requires_grad and not g.is_sparse]


#: What tells whether a backward has written a gradient; None where there is none.
Versions = list[tuple[int, int] | None]


def versions_of(parameters: Sequence[Tensor]) -> Versions:
    """Return what tells whether a backward has written a gradient."""
    return [None if (g := p.grad) is None else (id(g), g._version) for p in parameters]


def require_cleared(numbers: Mapping[str, float]) -> None:
    """Refuse a gradient to which a backward of before the first recording has added.

    Args:
        numbers: Those of the step.

    Raises:
        RecordingError: There was something other than zero.
    """
    if numbers.get(FORMER_NORM_SQ, 0.0) > 0.0:
        msg = (
            "A recording of the loss whose gradient is in p.grad was needed, but there was a gradient before the first "
            f"recorded backward since the last step. {_MORE}"
        )
        raise RecordingError(msg)


def require_same_slope(
    slope: float,
    recorded: float,
    numbers: Mapping[str, float],
    resolution: Callable[[], float],
    is_rounding: Callable[[], bool],
    known: float = 0.0,
    least: float = 2.0**-52,  # float64's
) -> float:
    """Refuse a recording whose slope is not that of the gradient.

    Args:
        slope: The gradient's, without L2 terms.
        recorded: The tape's.
        numbers: Those of the step, ‖g‖² and ‖d‖² among them.
        resolution: Gives the relative rounding of the coarsest dtype that the loss went through, where it matters.
        is_rounding: Looks closer where the slopes differ by more: whether the recordings give this gradient after all.
        known: What was found there before, in units of ‖d‖.
        least: A rounding that the loss has at least, known without a look at it.

    Returns:
        What is known after this step.

    Raises:
        RecordingError: They differ.
    """
    length = math.sqrt(abs(numbers["direction_norm_sq"]))
    unit = math.sqrt(abs(numbers["gradient_norm_sq"])) * length
    difference, known = abs(recorded - slope), _FADES * known
    if not difference > max(
        allowed(least, OF_A_STEP) * unit, 2.0 * known * length
    ):  # NaN too: the step is refused for that
        return known
    if not math.isfinite(difference) or difference <= allowed(resolution(), OF_A_STEP) * unit:
        return known
    if is_rounding():
        return difference / length
    msg = (
        "A recording of the loss whose gradient is in p.grad was needed, but along the step's direction the recorded "
        f"loss has the slope {recorded:.6g} and the gradient {slope:.6g}. {_cause(recorded, slope, unit)}"
    )
    raise RecordingError(msg)


def _cause(recorded: float, slope: float, unit: float) -> str:
    """Return which known cause the ratio of the slopes looks like, and what to do."""
    if abs(recorded) <= 1e-6 * unit:
        return (
            "The recording has not seen the parameters being used: was the forward run outside of it, or the parameter "
            "replaced or sharded? Run forward and backward inside optimizer.record(), with the parameters that the "
            "optimizer was given."
        )
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return (
            "Several processes train: either the gradients are averaged over them and the optimizer was told to step "
            "alone (process_group=None), or they are not and it was not told."
        )
    ratio = slope / recorded
    exponent = math.log2(abs(ratio)) if ratio != 0.0 else 0.0
    if ratio > 0.0 and abs(exponent) >= 4.0 and abs(exponent - round(exponent)) < 1e-3:
        return (
            f"Their ratio is 2^{round(exponent)}: the recorded loss carries a factor that the gradient does not, or "
            "the reverse. Call backward() on the loss that p.grad belongs to, or use torch.amp.GradScaler's own "
            "step."
        )
    if ratio > 1.0:
        return _MORE
    return (
        "Something between the recorded forward and p.grad changed one of them: a hook on a tensor or a module, a "
        "write through .data, a function whose backward is not the derivative of its forward, or "
        "gradients averaged over processes. curvestep.doctor examines the model; LQA and GeN measure without curvature."
    )
