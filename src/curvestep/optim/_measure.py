"""The measurements of one step: what the recordings, the gradients and the direction say, and how they are read."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from curvestep import _numerics
from curvestep._numerics import dots, squares, sums_to_host, to_host, total
from curvestep._probe import LineSample, Need, Probe
from curvestep._shards import aligned, counted, local, locals_of
from curvestep._warn import warn
from curvestep.optim._gather import Gathered, Sums, last_steps, penalty
from curvestep.optim._options import Measure
from curvestep.optim._processes import Group, averaged, gradient_of_all, shared_sums
from curvestep.optim._proof import CHANGES, LEFT_NORM_SQ, RECORDED_SLOPE, require_same_slope
from curvestep.optim._recordings import Recordings
from curvestep.steprules import LineRequest

#: What is measured on the recordings; everything else is known from the loss and the gradient.
ON_TAPE = frozenset({Need.CURVATURE, Need.ABSOLUTE_CURVATURE, Need.LINE})
#: What one pass over the recordings gives.
CURVATURES = frozenset({Need.CURVATURE, Need.ABSOLUTE_CURVATURE})

#: Name of λ ⟨θ, d⟩ among the numbers of a step.
DECAY_SLOPE = "decay_slope"

#: The precisions of a pass that round more than the recording may have, and the rounding that is allowed to them.
_LOOSE = frozenset({"bfloat16", "tf32"})
#: How far, in units of its norm, a gradient that is computed again may be from itself.
_ROUNDING = 0.05
_LEAST = float(torch.finfo(torch.bfloat16).eps)

_NO_SAMPLES = (
    "The recording shows no axis along which samples are lined up, so the loss is taken as that of a single sample: "
    "the absolute value is that of the whole batch's curvature, and steps may be longer than Algorithm 1 makes them. "
    "Say how many samples there are: optimizer.record(batch_size=…)."
)

_MIXED_SAMPLES = (
    "The curvature of single samples cannot be told apart in this recording, because samples mix or their axis is "
    "lost; its mean over the batch is exact, and the absolute values in Algorithm 1 are those of an approximate split. "
    "curvestep.doctor says where it happens."
)

_GUESSED_SAMPLES = (
    f"{_MIXED_SAMPLES} The number of samples was read off the data, where several readings may be possible: state it, "
    "optimizer.record(batch_size=…), or where samples have several rows each: optimizer.record(samples=…)."
)


def read(sums: Sums, group: Group, sharded: bool = False) -> dict[str, float]:
    """Return the numbers of a step on the host: the one place where processes' sums meet and a device is waited for.

    Args:
        sums: The numbers, as terms.
        group: The processes that share the model.
        sharded: Whether they share its parameters too: then every number is a sum over them.

    Cost:
        One synchronisation, and with several processes one all-reduce where one of the numbers is a process's own.
    """
    sums = shared_sums(sums, group, sharded)
    return dict(zip(sums, sums_to_host(*sums.values()), strict=True))


def sums_along(
    needs: frozenset[Need],
    how: Measure | None,
    recordings: Recordings,
    gathered: Gathered,
    directions: Sequence[list[Tensor]],
    group: Group,
    *,
    looks_at_all: bool = False,
) -> Sums:
    """Measure along the direction what a rule needs, without waiting for it.

    Args:
        needs: What the rule needs.
        how: How the curvature is measured, None where it is not.
        recordings: The recorded loss.
        gathered: What moves.
        directions: d, a list for each group.
        group: The processes that share the model.
        looks_at_all: Whether the slope of the whole batch is measured beside the curvature of a part of it.

    Returns:
        The slope of p.grad plus λ θ, ‖d‖², and with ``how`` the curvature, its mean absolute value, and the slope of
        the recorded loss, without its L2 term, where all samples are measured.
    """
    flat = [tensor for direction in directions for tensor in direction]
    moving = gathered.moving
    parameters = [parameter for part in moving for parameter in part.parameters]
    sums: Sums = {
        "slope": counted(dots([gradient for part in moving for gradient in part.gradients], flat), parameters),
        "direction_norm_sq": counted(squares(flat), parameters),
    }
    if gathered.decays and (recordings.is_changed or recordings.tapes or gathered.is_sharded):
        sums[DECAY_SLOPE] = [
            term * part.decay
            for part, direction in zip(moving, directions, strict=True)
            if part.decay > 0.0
            for term in counted(dots([p.detach() for p in locals_of(part.parameters)], direction), part.parameters)
        ]
    if how is not None and needs & CURVATURES:
        # The L2 term is part of every J_s: dᵀ∇²(λ/2 ‖θ‖²)d = λ ‖d‖².
        bends = [
            total(counted(squares(d), part.parameters)) * part.decay
            for part, d in zip(moving, directions, strict=True)
            if part.decay > 0.0
        ]
        if gathered.is_sharded:  # an absolute value is taken of what they are part of
            bends = averaged(bends, group)
        sums.update(curvatures(how, recordings, parameters, flat, bends))
        if looks_at_all:
            sums[RECORDED_SLOPE] = recordings.slope(parameters, flat)
    return sums


def curvatures(
    how: Measure,
    recordings: Recordings,
    parameters: Sequence[Tensor],
    direction: Sequence[Tensor],
    bends: Sequence[Tensor],
) -> Sums:
    """Measure the curvature of J and the mean over the samples of its absolute value, L2 terms inside of it.

    Args:
        how: On which samples, of which kind, in which dtypes.
        recordings: The recorded loss.
        parameters: What moves.
        direction: d, a tensor for each of them.
        bends: λ ‖d‖² of the groups with an L2 term.

    Returns:
        The terms of both.
    """
    with warnings.catch_warnings() if not how.announced else nullcontext():
        if not how.announced:
            warnings.filterwarnings("ignore", message="The curvature of a part of the batch", category=UserWarning)
        parts = recordings.curvature(parameters, direction, how)
    if any(part.found.per_sample is None for part in parts):
        warn(_NO_SAMPLES)
    elif not all(part.found.per_sample_exact for part in parts):
        guessed = any(part.found.samples_guessed for part in parts)
        warn(_GUESSED_SAMPLES if guessed else _MIXED_SAMPLES)  # Python's own filter says it once
    whole: list[Tensor] = []
    absolute: list[Tensor] = []
    for part in parts:
        rows = part.per_sample
        for bend in bends:
            term = bend.to(rows.device)
            rows = rows + (term if part.share == 1.0 else term * part.share)
        absolute.append(_weighted(rows.abs().mean(), part.weight))
        whole.append(_weighted(part.found.total, part.weight))
    sums: Sums = {"curvature": [*whole, *bends], "absolute_curvature": absolute}
    if how.samples is None:
        sums[RECORDED_SLOPE] = [part.found.slope for part in parts]
    return sums


def settle_slope(
    numbers: dict[str, float],
    recordings: Recordings,
    gathered: Gathered,
    how: Measure | None,
    group: Group,
    known: float = 0.0,
) -> float:
    """Prove that the recording is that of the gradient, or put the recorded loss's slope in place of the gradient's.

    A gradient that was clipped since backward makes the direction, and the slope is still that of the loss: the one on
    the tape where all samples were measured, else that of the gradient grown by what its norm has shrunk.

    Returns:
        What is known of the slopes' rounding after this step, given what was before.
    """
    decay = numbers.pop(DECAY_SLOPE, 0.0)
    recorded, left = numbers.pop(RECORDED_SLOPE, None), numbers.pop(LEFT_NORM_SQ, None)
    changes = numbers.pop(CHANGES, 0.0)
    if not (recordings.is_changed or changes > 0.0):
        if recorded is not None:
            dtypes = {p.dtype for part in gathered.moving for p in part.parameters}
            loose = how is not None and how.precision in _LOOSE
            return require_same_slope(
                numbers["slope"] - decay,
                recorded,
                numbers,
                lambda: _LEAST if loose else _coarsest(dtypes, recordings),
                lambda: _is_rounding(recordings, gathered, group),
                known,
                max([_eps(dtype) for dtype in dtypes]),
            )
    elif recorded is not None:
        numbers["slope"] = recorded + decay
    elif left:
        numbers["slope"] = (numbers["slope"] - decay) * growth(left, numbers["gradient_norm_sq"]) + decay
    return known


def _is_rounding(recordings: Recordings, gathered: Gathered, group: Group) -> bool:
    """Whether the recordings, run again, give the gradient in p.grad: what differs is then rounding alone.

    Where a network fits its data the gradient is what is left of numbers that cancel, and its slope as inexact.

    Returns:
        Whether the two gradients agree.
    """
    parameters = [parameter for part in gathered.moving for parameter in part.parameters]
    still = [torch.zeros_like(parameter) for parameter in locals_of(parameters)]
    again = gradient_of_all(recordings.gradient_along(parameters, still, 0.0), parameters, group)
    own = [
        recordings.unscaled(local(aligned(p.grad, p))).to(g.dtype)
        for p, g in zip(parameters, again, strict=True)
        if p.grad is not None
    ]
    sums: Sums = {
        "difference": counted(squares(_numerics.add(own, again, alpha=-1.0)), parameters),
        "norm": counted(squares(own), parameters),
    }
    found = read(sums, group, gathered.is_sharded)
    return found["difference"] <= _ROUNDING**2 * found["norm"]


def growth(left: float, now: float) -> float:
    """Return ‖g‖ / ‖g'‖ of a gradient g that was clipped to g'; 1 where it cannot be told."""
    return math.sqrt(left / now) if now > 0.0 and 0.0 < left < math.inf else 1.0


def _weighted(number: Tensor, weight: float) -> Tensor:
    return number if weight == 1.0 else number * weight


def resolution(needs: frozenset[Need], recordings: Recordings, gathered: Gathered) -> float:
    """Return the relative rounding of losses along the line: that of the coarsest dtype that the loss went through."""
    if Need.LINE not in needs:
        return Probe.resolution
    return _coarsest({p.dtype for part in gathered.moving for p in part.parameters}, recordings)


def _coarsest(dtypes: set[torch.dtype], recordings: Recordings) -> float:
    """Return the relative rounding of the coarsest of these dtypes and of those that the loss went through."""
    continuous = [t for t in dtypes | recordings.dtypes() if t.is_floating_point or t.is_complex]
    return max([_eps(dtype) for dtype in continuous])


@cache
def _eps(dtype: torch.dtype) -> float:
    """Return the relative rounding of a dtype."""
    return torch.finfo(dtype).eps


def look(
    probe: Probe,
    asked: LineRequest,
    recordings: Recordings,
    gathered: Gathered,
    directions: Sequence[list[Tensor]],
    loss: Tensor,
    group: Group,
) -> Probe:
    """Add the losses that a rule asks for to a probe, by replay of the recordings, with one host synchronisation."""
    moving = gathered.moving
    line = directions if asked.along == "direction" else last_steps(moving)
    parameters = [parameter for part in moving for parameter in part.parameters]
    flat = [tensor for direction in line for tensor in direction]
    losses = recordings.losses_along(parameters, flat, [-step for step in asked.steps])
    fixed = penalty([part for part in gathered.parts if part.lr == 0.0], loss)
    terms = []
    for step, value in zip(asked.steps, losses.unbind(), strict=True):
        found = value + fixed.to(value.device)
        for part, direction in zip(moving, line, strict=True):
            if part.decay > 0.0:
                moved = _numerics.add([p.detach() for p in locals_of(part.parameters)], direction, alpha=-step)
                square = total(counted(squares(moved), part.parameters))
                found = found + (square * (0.5 * part.decay)).to(value.device)
        terms.append(found)
    numbers = to_host(*averaged(terms, group))
    samples = tuple(LineSample(step, value) for step, value in zip(asked.steps, numbers, strict=True))
    return replace(probe, line=probe.line + samples)
