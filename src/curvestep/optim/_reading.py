"""The measurements of a window's end: what a recording at the averaged parameters gives, and all of them together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from curvestep._numerics import add, as_dtype, dots, real, squares, total
from curvestep._shards import aligned, counted, is_sharded, locals_of, placed_as
from curvestep._window import WindowReading
from curvestep.engine import Tape
from curvestep.optim._average import AVERAGE, WINDOW_START
from curvestep.optim._gather import Sums
from curvestep.optim._processes import Group, averaged
from curvestep.optim._window_names import (
    ABSOLUTE,
    BEFORE,
    CURVATURE,
    GRADIENT,
    ITERATE,
    LENGTH,
    LOSS,
    OUT_CURVATURE,
    OUT_LENGTH,
    OUT_SLOPE,
    SLOPE,
    SPREAD,
    VARIANCE,
)

#: Into how many parts a batch is cut for the standard error of the slope; their passes together are one over all of it.
_PARTS = 4


@final
@dataclass(frozen=True)
class Way:
    """The parameters that have an average, and the two directions that are measured from it.

    Attributes:
        parameters: those that require a gradient, each at x̄ or at z.
        displacement: D = x̄ − x̄', what this process holds of it, in the parameters' dtypes.
        excursion: E = z − x̄, the same.
    """

    parameters: list[Tensor]
    displacement: list[Tensor]
    excursion: list[Tensor]

    @classmethod
    def of(cls, parameters: Sequence[Tensor], states: Any) -> Way:
        """Take both from parameters that are at z."""
        held = [p for p in parameters if p.requires_grad and WINDOW_START in states.get(p, ())]
        places = [p.detach() for p in locals_of(held)]
        averages = [states[p][AVERAGE] for p in held]
        ways = add(averages, [states[p][WINDOW_START] for p in held], alpha=-1.0)
        rounded = [as_dtype(a, p.dtype) for a, p in zip(averages, places, strict=True)]
        return cls(
            held,
            [as_dtype(d, p.dtype) for d, p in zip(ways, places, strict=True)],
            add(places, rounded, alpha=-1.0),
        )


@final
@dataclass(frozen=True)
class Measured:
    """What one recording gave: numbers of J_i, the scalar that backward was called on, as tensors of shape ().

    Attributes:
        numbers: name → number; of the variance of the slope NaN where the batch could not be cut.
        rows: Dᵀ∇²J_s D of its samples, or one number for all where they cannot be told apart.
        samples: how many there are, 1 where that is not known.
    """

    numbers: Mapping[str, Tensor]
    rows: Tensor
    samples: int


def measure(tape: Tape, way: Way) -> Measured:
    """Measure on one recording, made with the parameters at x̄, which are still there.

    Args:
        tape: The recording, with its backward.
        way: The directions.

    Returns:
        Its numbers.

    Cost:
        A tangent pass along D, in four parts where the batch can be cut, one along E, and two forwards.
    """
    along = [placed_as(d, p) for d, p in zip(way.displacement, way.parameters, strict=True)]
    out = [placed_as(e, p) for e, p in zip(way.excursion, way.parameters, strict=True)]
    numbers, rows, samples = _in_parts(tape, way.parameters, along)
    found = tape.curvature(way.parameters, out, per_sample=False)
    numbers |= {
        LOSS: tape.loss,
        BEFORE: tape.loss_along(way.parameters, along, [-1.0])[0],
        ITERATE: tape.loss_along(way.parameters, out, [1.0])[0],
        OUT_SLOPE: found.slope,
        OUT_CURVATURE: found.total,
    }
    return Measured({name: number.detach().reshape(()) for name, number in numbers.items()}, rows, samples)


def _in_parts(
    tape: Tape, parameters: Sequence[Tensor], direction: Sequence[Tensor]
) -> tuple[dict[str, Tensor], Tensor, int]:
    """Measure slope, curvature and the curvature of the samples, part by part of the batch where it can be cut."""
    batch = tape.batch_size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The curvature of a part of the batch", category=UserWarning)
        found = []
        for part in range(min(_PARTS, batch or 1)):
            chosen = None if batch is None or batch < 2 else tuple(range(part, batch, _PARTS))
            found.append(tape.curvature(parameters, direction, samples=chosen))
            if found[-1].samples is None or found[-1].samples == found[-1].batch_size:
                break  # the batch could not be cut, and all of it was measured
    whole = found[-1] if len(found) == 1 else None
    rows = [each.total.reshape(1) if each.per_sample is None else each.per_sample for each in found]
    if whole is not None:
        unknown = torch.full_like(whole.slope, math.nan)
        return {SLOPE: whole.slope, CURVATURE: whole.total, VARIANCE: unknown}, rows[0], whole.samples or 1
    counts = [each.samples or 1 for each in found]
    shares = [count / sum(counts) for count in counts]
    slopes = torch.stack([each.slope for each in found])
    return (
        {
            SLOPE: total([each.slope * share for each, share in zip(found, shares, strict=True)]),
            CURVATURE: total([each.total * share for each, share in zip(found, shares, strict=True)]),
            VARIANCE: slopes.var() / len(found),
        },
        torch.cat(rows),
        sum(counts),
    )


def sums_of(
    measured: Sequence[Measured],
    way: Way,
    groups: Sequence[dict[str, Any]],
    variances: Sequence[Tensor | None],
    decay_of: Mapping[Tensor, float],
    scale: Tensor | None,
    group: Group,
) -> Sums:
    """Return the numbers of all recordings of a step as one loss, J = Σ_i J_i and its L2 terms.

    Args:
        measured: What each recording gave.
        way: The directions, taken again from the parameters at z.
        groups: The optimizer's.
        variances: For each parameter an estimate of the variance of its gradient's entries, or None.
        decay_of: λ of each parameter that has one.
        scale: The factor of a GradScaler on every J_i, or None.
        group: The processes that share the model.
    """
    factor = 1.0 if scale is None else 1.0 / scale
    sums: dict[str, Sequence[Tensor]] = {
        name: [each.numbers[name] * (factor**2 if name == VARIANCE else factor) for each in measured]
        for name in measured[0].numbers
    }
    parameters = way.parameters
    gradients = [p.grad for p in parameters if p.grad is not None]
    held = [p for p in parameters if p.grad is not None]
    pieces = locals_of([aligned(g.detach(), p) for g, p in zip(gradients, held, strict=True)])
    sums[GRADIENT] = counted(squares(pieces), held)
    sums[LENGTH] = counted(squares(way.displacement), parameters)
    sums[OUT_LENGTH] = counted(squares(way.excursion), parameters)
    known = [(v, d, p) for v, d, p in zip(variances, way.displacement, parameters, strict=True) if v is not None]
    if known:
        sums[SPREAD] = counted([(v * real(d).to(v.dtype).square()).sum() for v, d, _ in known], [p for *_, p in known])
    bends = _decayed(sums, way, groups, decay_of)
    if bends is not None and any(is_sharded(p) for p in parameters):  # an absolute value is taken of what it is part of
        (bends,) = averaged([bends], group)
    whole = sum(each.samples for each in measured)
    sums[ABSOLUTE] = [
        (each.rows * factor + (0.0 if bends is None else bends.to(each.rows.device) * (each.samples / whole)))
        .abs()
        .mean()
        for each in measured
    ]
    return sums


def _decayed(
    sums: dict[str, Sequence[Tensor]], way: Way, groups: Sequence[dict[str, Any]], decay_of: Mapping[Tensor, float]
) -> Tensor | None:
    """Add the L2 terms λ/2 ‖θ‖², and return λ ‖D‖², which belongs inside every sample's absolute curvature."""
    moving = {id(p) for p in way.parameters}
    still = [p for group in groups for p in group["params"] if p.grad is not None and id(p) not in moving]
    fixed = [
        0.5 * decay_of[p] * term
        for p in still
        if p in decay_of
        for term in counted(squares(locals_of([p.detach()])), [p])
    ]
    rows = [
        (decay_of[p], p, d, e)
        for p, d, e in zip(way.parameters, way.displacement, way.excursion, strict=True)
        if p in decay_of
    ]
    if not (rows or fixed):
        return None
    owners = [p for _, p, _, _ in rows]
    weights = [weight for weight, *_ in rows]
    iterates = [p.detach() for p in locals_of(owners)]
    d, e = [d for _, _, d, _ in rows], [e for *_, e in rows]
    x = add(iterates, e, alpha=-1.0)

    def weighted(terms: Sequence[Tensor], factor: float = 1.0) -> list[Tensor]:
        return [w * factor * term for w, term in zip(weights, counted(terms, owners), strict=True)]

    bends, out_bends = weighted(squares(d)), weighted(squares(e))
    for name, more in (
        (LOSS, weighted(squares(x), 0.5)),
        (BEFORE, weighted(squares(add(x, d, alpha=-1.0)), 0.5)),
        (ITERATE, weighted(squares(iterates), 0.5)),
    ):
        sums[name] = [*sums[name], *more, *fixed]
    sums[SLOPE] = [*sums[SLOPE], *weighted(dots(x, d))]
    sums[OUT_SLOPE] = [*sums[OUT_SLOPE], *weighted(dots(x, e))]
    sums[CURVATURE] = [*sums[CURVATURE], *bends]
    sums[OUT_CURVATURE] = [*sums[OUT_CURVATURE], *out_bends]
    return total(bends)


def reading_of(numbers: Mapping[str, float], window: tuple[int, int], processes: int) -> WindowReading:
    """Return the reading that the numbers make, in float64 on the host.

    Args:
        numbers: Those of `sums_of`, the mean over the processes of what is each one's own.
        window: (k', k).
        processes: How many.
    """
    variance = numbers[VARIANCE] / processes  # that of a mean over them
    start, step = window
    return WindowReading(
        step=step,
        start=start,
        loss=numbers[LOSS],
        loss_before=numbers[BEFORE],
        loss_at_iterate=numbers[ITERATE],
        slope=numbers[SLOPE],
        slope_error=None if math.isnan(variance) else math.sqrt(variance),
        slope_spread=math.sqrt(numbers[SPREAD]) if SPREAD in numbers else None,
        curvature=numbers[CURVATURE],
        absolute_curvature=numbers[ABSOLUTE],
        iterate_slope=numbers[OUT_SLOPE],
        iterate_curvature=numbers[OUT_CURVATURE],
        displacement_norm_sq=numbers[LENGTH],
        iterate_norm_sq=numbers[OUT_LENGTH],
    )
