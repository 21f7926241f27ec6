"""Whether the gradient that backward left is the derivative of the operations that were recorded.

The slope of the recorded operations along a direction is compared with that of the gradient. They agree to rounding
where what is recorded is what ran, and every function's backward is the derivative of its forward; and not where it is
something else: a straight-through estimator, a gradient that is scaled or clipped, a result that was computed outside
of torch, numbers that were written since past autograd's counters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError, RecordingError
from curvestep._numerics import dots, squared_norm
from curvestep.engine.data.recording import Recording

#: What rounding may do to the slopes, in units of ‖g‖ ‖d‖ and of the root of the coarsest rounding: each is a sum of
#: roundings of many sizes and signs, between that of one term and that of as many terms as there are entries. A pass
#: that is asked for takes the tight bound, 0.14 % in float32, since it is there to find a function whose backward is
#: nearly its derivative. A closer look costs a forward and a backward, which a step must not take often: its bound is
#: 2 % in float32, and what it is there to find (a factor, another batch, a gradient that was not recorded) is larger.
OF_A_PASS, OF_A_STEP = 4.0, 60.0
#: The most that is allowed, which half precision would exceed.
_MOST = 0.1
#: How far a gradient that is computed again may be from the first, in units of its norm.
_AGAIN = 0.02


def prove(
    recording: Recording,
    names: Sequence[str],
    params: Sequence[Tensor],
    direction: Sequence[Tensor],
    slope: Tensor,
    again: Callable[[], Sequence[Tensor]],
) -> None:
    """Refuse a recording whose slope is not that of the gradient.

    Args:
        recording: what was recorded.
        names: what gave gradients beneath autograd on the way to the loss; empty where nothing did.
        params: what moves.
        direction: d, a tensor for each of them.
        slope: that of the recorded operations along d.
        again: gives their gradient, for a closer look.

    Raises:
        MissingRuleError: they differ, and something ran beneath autograd.
        RecordingError: they differ though nothing did.

    Cost:
        A product of gradients and direction, and one host synchronisation.
    """
    left = recording.log.gradients
    zero = torch.zeros((), device=slope.device)
    pairs = [(left[id(p)], d) for p, d in zip(params, direction, strict=True) if id(p) in left]
    gradients = [g for g, _ in pairs]
    own = sum((t.to(zero.device) for t in dots(gradients, [d for _, d in pairs])), zero)
    unit = (squared_norm(gradients) * squared_norm(direction)).sqrt() if pairs else zero
    recorded, found, scale = torch.stack([t.double().reshape(()) for t in (slope, own, unit.to(zero.device))]).tolist()
    if abs(recorded - found) <= allowed(_rounding(recording)) * scale or recorded == found:
        return
    if not (math.isfinite(recorded) or math.isfinite(found)):  # nothing that could be compared
        return
    given = [left.get(id(p)) for p in params]
    if all(g is not None for g in given):
        other = [a - g for a, g in zip(again(), given, strict=True) if g is not None]
        if float(squared_norm(other)) <= _AGAIN**2 * float(squared_norm(gradients)):
            return
    if not names:
        raise RecordingError(
            "The numbers of the forward were needed, but along the direction the recorded operations have the slope "
            f"{recorded:.6g} and the gradient that backward left {found:.6g}: data or parameters were written to since "
            "in a way that torch does not count (.data, numpy). Measure before, or write to a copy."
        )
    many = ", ".join(dict.fromkeys(names))
    raise MissingRuleError(
        f"A backward that is the derivative of the forward was needed, but along the direction the operations that ran "
        f"in the forward of {many} give the slope {recorded:.6g} and the backward {found:.6g}. Where the backward is "
        "meant to be another function's, as that of a straight-through estimator is, say which with "
        "curvestep.register_rule; checkpoints need use_reentrant=False where they detach something."
    )


def allowed(resolution: float, roots: float = OF_A_PASS) -> float:
    """How far the slopes may differ, in units of ‖g‖ ‖d‖, where the coarsest dtype rounds by `resolution`."""
    return min(roots * resolution**0.5, _MOST)


def _rounding(recording: Recording) -> float:
    """The relative rounding of the coarsest dtype that the loss went through."""
    dtypes = {v.dtype for node in recording.nodes for v in node.outputs if v is not None and v.needs_grad}
    return max((torch.finfo(t).eps for t in dtypes), default=0.0)
