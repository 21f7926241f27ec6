"""The measurements of a window's end: what a recording at the averaged parameters gives, and all of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep._numerics import add, as_dtype, dots, real, squares, total
from curvestep._shards import aligned, counted, is_sharded, locals_of, placed_as
from curvestep._window import WindowNeed, WindowReading
from curvestep.engine import Tape, slopes_sweep
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
    MEAN,
    OUT_CURVATURE,
    OUT_LENGTH,
    OUT_SLOPE,
    SAMPLES,
    SLOPE,
    SPREAD,
    SQUARE,
)

#: How far the mean of the samples' slopes may be from the slope, in units of their root mean square.
_AGREES = 1e-2

_NOT_REPLAYED = (
    "At the end of a window of steps the loss of this batch was needed at two more points, but the recording cannot be "
    "run again there: {why} Where the model needs this (spectral_norm writes what it reads), use another optimizer."
)


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
    """What one recording gave of J_i, the scalar that backward was called on.

    Attributes:
        numbers: name → number, shape ().
        bends: Dᵀ∇²J_s D of its samples, one number for all where they cannot be told apart; None where not measured.
        slopes: ⟨∇J_s, D⟩ of its samples, or None.
        resolution: relative rounding of the coarsest dtype that it went through.
    """

    numbers: Mapping[str, Tensor]
    bends: Tensor | None
    slopes: Tensor | None
    resolution: float

    @property
    def samples(self) -> int:
        """How many samples there are, 1 where that is not known."""
        rows = self.bends if self.slopes is None else self.slopes
        return 1 if rows is None else rows.numel()


def measure(tape: Tape, way: Way, needs: frozenset[WindowNeed]) -> Measured:
    """Measure on one recording, made with the parameters at x̄, which are still there.

    A loss that cannot be run again at x̄' or z, because Python read a number that is another one there, is that of the
    measured parabola.

    Args:
        tape: The recording, with its backward.
        way: The directions.
        needs: What the rule asks for.

    Returns:
        Its numbers.

    Raises:
        RecordingError: The parameters are sharded, and the recording cannot be run again at other points.

    Cost:
        A tangent pass along E and a forward; for κ a tangent pass
        along D, for the samples' slopes one of first order, for J(z) a forward.
    """
    along = [placed_as(d, p) for d, p in zip(way.displacement, way.parameters, strict=True)]
    out = [placed_as(e, p) for e, p in zip(way.excursion, way.parameters, strict=True)]
    loss, bends, slopes = tape.loss, None, None
    asked: dict[str, Tensor] = {}

    def bend_along() -> None:
        nonlocal bends
        found = tape.curvature(way.parameters, along)
        asked.update({SLOPE: found.slope, CURVATURE: found.total})
        bends = found.total.reshape(1) if found.per_sample is None else found.per_sample

    if WindowNeed.SLOPE in needs:
        each = slopes_sweep(tape.recording, way.parameters, along)
        asked[SLOPE], slopes = each.total, each.per_sample
    if WindowNeed.CURVATURE in needs:
        bend_along()
    outwards = tape.curvature(way.parameters, out, per_sample=False)
    try:
        before = tape.loss_along(way.parameters, along, [-1.0])[0]
        if WindowNeed.ITERATE_LOSS in needs:
            asked[ITERATE] = tape.loss_along(way.parameters, out, [1.0])[0]
    except RecordingError as why:
        if any(is_sharded(p) for p in way.parameters):  # a pass of one process alone would wait for the others
            raise RecordingError(_NOT_REPLAYED.format(why=why)) from why
        if CURVATURE not in asked:
            bend_along()
        before = loss - asked[SLOPE] + 0.5 * asked[CURVATURE]
        if WindowNeed.ITERATE_LOSS in needs:
            asked[ITERATE] = loss + outwards.slope + 0.5 * outwards.total
    numbers = {
        LOSS: loss,
        BEFORE: before,
        OUT_SLOPE: outwards.slope,
        OUT_CURVATURE: outwards.total,
        **asked,
    }
    found = {name: number.detach().reshape(()) for name, number in numbers.items()}
    return Measured(found, bends, slopes, _resolution(tape))


def _resolution(tape: Tape) -> float:
    """Return the relative rounding of the coarsest dtype that the loss went through."""
    values = [value for node in tape.nodes for value in node.outputs if value is not None and value.needs_grad]
    return max([torch.finfo(dtype).eps for dtype in {value.dtype for value in values}], default=2.0**-52)


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
        name: [each.numbers[name] * factor for each in measured] for name in measured[0].numbers
    }
    parameters = way.parameters
    held = [p for p in parameters if p.grad is not None]
    gradients = locals_of([aligned(p.grad.detach(), p) for p in held if p.grad is not None])
    sums[GRADIENT] = counted(squares(gradients), held)
    sums[LENGTH] = counted(squares(way.displacement), parameters)
    sums[OUT_LENGTH] = counted(squares(way.excursion), parameters)
    known = [(v, d, p) for v, d, p in zip(variances, way.displacement, parameters, strict=True) if v is not None]
    if known:
        sums[SPREAD] = counted([(v * real(d).to(v.dtype).square()).sum() for v, d, _ in known], [p for *_, p in known])
    shifts = _decayed(sums, way, groups, decay_of)
    if shifts and any(is_sharded(p) for p in parameters):  # they are part of what is squared, or made positive
        shifts = averaged(shifts, group)
    whole = sum(each.samples for each in measured)
    absolute, means, squared = [], [], []
    for each in measured:
        weight = each.samples / whole  # J_i is this share of the whole loss
        bends, slopes = (
            None if rows is None else rows.to(wide(rows)) * factor + _shift(shifts, place, rows) * weight
            for place, rows in enumerate((each.bends, each.slopes))
        )
        if bends is not None:
            absolute.append(bends.abs().mean())
        if slopes is not None:
            means.append(slopes.mean())
            squared.append(slopes.square().mean() / weight)
    if absolute:
        sums[ABSOLUTE] = absolute
    if SLOPE in sums:  # in every process alike: one that does not know its samples says so by a number
        loss = measured[0].numbers[LOSS]
        unknown = [torch.full_like(loss, math.nan, dtype=wide(loss))]
        are_known = len(means) == len(measured)
        sums |= {MEAN: means if are_known else unknown, SQUARE: squared if are_known else unknown}
        sums[SAMPLES] = [torch.full_like(unknown[0], float(whole))]
    return sums


def _shift(shifts: Sequence[Tensor], place: int, rows: Tensor) -> Tensor | float:
    """Return the L2 term's part in every row, in the rows' place and precision; 0 without one."""
    return shifts[place].to(rows.device, wide(rows)) if shifts else 0.0


def wide(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which squares of a batch's numbers are summed."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _decayed(
    sums: dict[str, Sequence[Tensor]], way: Way, groups: Sequence[dict[str, Any]], decay_of: Mapping[Tensor, float]
) -> list[Tensor]:
    """Add the L2 terms λ/2 ‖θ‖², and return λ ‖D‖² and λ ⟨x̄, D⟩, which belong to every sample; nothing without λ."""
    moving = {id(p) for p in way.parameters}
    still = [p for group in groups for p in group["params"] if p.grad is not None and id(p) not in moving]
    still = [p for p in still if p in decay_of]
    squared = counted(squares(locals_of([p.detach() for p in still])), still)
    fixed = [0.5 * decay_of[p] * term for p, term in zip(still, squared, strict=True)]
    rows = [
        (decay_of[p], p, d, e)
        for p, d, e in zip(way.parameters, way.displacement, way.excursion, strict=True)
        if p in decay_of
    ]
    weights, owners = [weight for weight, *_ in rows], [p for _, p, _, _ in rows]
    d, e = [d for _, _, d, _ in rows], [e for *_, e in rows]
    iterates = [p.detach() for p in locals_of(owners)]
    x = add(iterates, e, alpha=-1.0) if rows else []

    def weighted(terms: Sequence[Tensor], factor: float = 1.0) -> list[Tensor]:
        return [w * factor * term for w, term in zip(weights, counted(terms, owners), strict=True)]

    if rows:
        bends, slopes = weighted(squares(d)), weighted(dots(x, d))
        more = {
            LOSS: weighted(squares(x), 0.5),
            BEFORE: weighted(squares(add(x, d, alpha=-1.0)), 0.5),
            ITERATE: weighted(squares(iterates), 0.5),
            SLOPE: slopes,
            CURVATURE: bends,
            OUT_SLOPE: weighted(dots(x, e)),
            OUT_CURVATURE: weighted(squares(e)),
        }
        for name in more.keys() & sums.keys():
            sums[name] = [*sums[name], *more[name]]
        shifts = [total(bends), total(slopes)]
    else:
        shifts = []
    for name in {LOSS, BEFORE, ITERATE} & sums.keys():
        sums[name] = [*sums[name], *fixed]
    return shifts


def reading_of(
    numbers: Mapping[str, float], window: tuple[int, int], processes: int, resolution: float
) -> WindowReading:
    """Return the reading that the numbers make, in float64 on the host.

    Args:
        numbers: Those of `sums_of`, the mean over the processes of what is each one's own.
        window: (k', k).
        processes: How many.
        resolution: Relative rounding of the losses.
    """
    start, step = window
    return WindowReading(
        step=step,
        start=start,
        loss=numbers[LOSS],
        loss_before=numbers[BEFORE],
        loss_at_iterate=numbers.get(ITERATE),
        slope=numbers.get(SLOPE),
        slope_error=_slope_error(numbers, processes),
        slope_spread=math.sqrt(numbers[SPREAD]) if SPREAD in numbers else None,
        curvature=numbers.get(CURVATURE),
        absolute_curvature=numbers.get(ABSOLUTE),
        iterate_slope=numbers[OUT_SLOPE],
        iterate_curvature=numbers[OUT_CURVATURE],
        displacement_norm_sq=numbers[LENGTH],
        iterate_norm_sq=numbers[OUT_LENGTH],
        resolution=resolution,
    )


def _slope_error(numbers: Mapping[str, float], processes: int) -> float | None:
    """Return the standard error of the mean of the samples' slopes; None where they are not known."""
    if SLOPE not in numbers:
        return None
    mean, square, samples = numbers[MEAN], numbers[SQUARE], processes * numbers[SAMPLES]
    if samples < 2.0 or math.isnan(square):
        return None
    if abs(mean - numbers[SLOPE]) > _AGREES * math.sqrt(square):  # an operation that does not carry them
        return None
    return math.sqrt(max(square - mean * mean, 0.0) / (samples - 1.0))
