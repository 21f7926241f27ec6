"""The measurements of one step: what the tape, the gradients and the direction say, as a ``Probe`` on the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from curvestep import _numerics
from curvestep._numerics import dots, squared_norm, squares, to_host
from curvestep._probe import LineSample, Need, Probe
from curvestep.engine import Order, Precision, Tape
from curvestep.optim._parts import Part

#: What is measured on the recording; everything else is known from the loss and the gradient.
ON_TAPE = frozenset({Need.CURVATURE, Need.ABSOLUTE_CURVATURE, Need.LINE})

#: Names in every parameter group of the options that say how the curvature is measured.
SAMPLES = "curvature_samples"
CURVATURE = "curvature"
EVERY = "curvature_every"
BETA3 = "beta3"
PRECISION = "curvature_precision"

_NO_SAMPLES = (
    "The recording shows no axis along which samples are lined up, so the loss is taken as that of a single sample: "
    "the absolute value is that of the whole batch's curvature, and steps may be longer than Algorithm 1 makes them. "
    "Say how many samples there are: optimizer.record(batch_size=…)."
)

_MIXED_SAMPLES = (
    "The curvature of single samples cannot be told apart in this recording, because samples mix or their axis is "
    "lost; its mean over the batch is exact, and the absolute values in Algorithm 1 are those of an approximate split. "
    "curvestep.doctor says where it happens; where the axis was guessed wrong: optimizer.record(batch_size=…)."
)


@dataclass(frozen=True)
class Measurement:
    """How the curvature is measured.

    Attributes:
        samples: How many samples of the batch it is measured on: a number, a share of the batch, or None for all.
        kind: The loss's own second derivative, or its generalised Gauss-Newton form.
        announced: Whether to say so where the batch cannot be cut and all of it is measured. A person who asked for a
            part wants to know; one who chose nothing can do nothing about it.
        precision: The dtypes of its tangents and products.
    """

    samples: int | float | None = None
    kind: Order = "exact"
    announced: bool = True
    precision: Precision = "recorded"

    @classmethod
    def of(cls, options: dict[str, Any], *, announced: bool = True) -> Measurement:
        """Read the options of a parameter group; refuse what cannot be measured."""
        samples, kind = options.get(SAMPLES), options.get(CURVATURE, "exact")
        number = isinstance(samples, (int, float)) and not isinstance(samples, bool)
        whole = isinstance(samples, int) and number and samples >= 1
        share = isinstance(samples, float) and 0.0 < samples <= 1.0
        if not (samples is None or whole or share):
            msg = (
                "curvature_samples is the number of samples on which the curvature is measured, a whole number of at "
                "least 1, or their share of the batch in (0, 1], or None for all of them, but "
                f"curvature_samples={samples!r} was given."
            )
            raise ValueError(msg)
        if kind not in get_args(Order):
            msg = f"curvature must be 'exact' or 'ggn', but curvature={kind!r} was given."
            raise ValueError(msg)
        precision = options.get(PRECISION, "recorded")
        if precision not in get_args(Precision):
            msg = (
                f"curvature_precision must be one of {', '.join(get_args(Precision))}, but "
                f"curvature_precision={precision!r} was given."
            )
            raise ValueError(msg)
        return cls(samples, kind, announced, precision)


def along(
    needs: frozenset[Need],
    how: Callable[[], Measurement],
    tape: Tape | None,
    parts: Sequence[Part],
    directions: Sequence[list[Tensor]],
    scale: Tensor | None,
) -> list[list[Tensor]]:
    """Measure along the direction what a rule needs, without waiting for it.

    Returns:
        The terms of ⟨g, d⟩ and of ‖d‖², and where the curvature is needed that and its mean absolute value: lists of
        tensors of shape (), to be summed.
    """
    flat = [tensor for direction in directions for tensor in direction]
    # The slope is that of the gradient the step uses: p.grad, as accumulation, clipping or averaging left it, plus λ θ.
    found = [dots([gradient for part in parts for gradient in part.gradients], flat), squares(flat)]
    if needs & {Need.CURVATURE, Need.ABSOLUTE_CURVATURE}:
        assert tape is not None, "A step whose rule needs the curvature is taken on a tape."
        found += [[number] for number in _curvatures(how(), tape, parts, directions, scale)]
    return found


def _curvatures(
    how: Measurement, tape: Tape, parts: Sequence[Part], directions: Sequence[list[Tensor]], scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the curvature of the batch and the mean absolute curvature of its samples, the L2 term in both."""
    parameters = [parameter for part in parts for parameter in part.parameters]
    total, per_sample = split_curvature(
        how, tape, parameters, [tensor for direction in directions for tensor in direction]
    )
    if scale is not None:
        total, per_sample = total / scale.to(total.device), per_sample / scale.to(per_sample.device)
    for part, direction in zip(parts, directions, strict=True):
        decay = part.decay
        if decay > 0.0:  # the L2 term is part of every J_s: dᵀ∇²(λ/2 ‖θ‖²)d = λ ‖d‖², inside the absolute value
            penalty = squared_norm(direction) * decay
            total = total + penalty.to(total.device)
            per_sample = per_sample + penalty.to(per_sample.device)
    return total, per_sample.abs().mean()


def split_curvature(
    how: Measurement, tape: Tape, parameters: Sequence[Tensor], direction: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the curvature of the recorded loss and that of each sample, and say where samples cannot be told apart."""
    with warnings.catch_warnings() if not how.announced else nullcontext():
        if not how.announced:
            warnings.filterwarnings("ignore", message="The curvature of a part of the batch", category=UserWarning)
        found = tape.curvature(parameters, direction, samples=how.samples, kind=how.kind, precision=how.precision)
    if found.per_sample is None:
        warnings.warn(_NO_SAMPLES, stacklevel=6)
        return found.total, found.total.reshape(1)
    if not found.per_sample_exact:
        warnings.warn(_MIXED_SAMPLES, stacklevel=6)  # Python's own filter says it once
    return found.total, found.per_sample


def line_resolution(needs: frozenset[Need], tape: Tape | None, parts: Sequence[Part]) -> float:
    """Return the relative rounding of losses along the line, or what a probe has without them."""
    if tape is None or Need.LINE not in needs:
        return Probe.resolution
    return _resolution(tape, [parameter for part in parts for parameter in part.parameters])


def _resolution(tape: Tape, parameters: Sequence[Tensor]) -> float:
    """Return the relative rounding of the coarsest dtype that the recorded loss went through."""
    dtypes = {parameter.dtype for parameter in parameters}
    dtypes.update(
        value.dtype for node in tape.nodes for value in node.outputs if value is not None and value.needs_grad
    )
    return max(torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point)


def extend_line(
    probe: Probe,
    steps: Sequence[float],
    tape: Tape,
    parts: Sequence[Part],
    directions: Sequence[list[Tensor]],
    fixed: Tensor,
    scale: Tensor | None,
) -> Probe:
    """Add the losses at θ − t d to a probe, by replay of the recording, with one host synchronisation.

    Args:
        probe: What is known so far.
        steps: The t.
        tape: The recording.
        parts: What moves.
        directions: d, a list for each part.
        fixed: The L2 terms of what does not move, of shape ().
        scale: The factor of a GradScaler on the recorded loss, or None.

    Returns:
        The probe with a line sample more for each t.
    """
    parameters = [parameter for part in parts for parameter in part.parameters]
    flat = [tensor for direction in directions for tensor in direction]
    losses = tape.loss_along(parameters, flat, [-step for step in steps])
    if scale is not None:
        losses = losses / scale.to(losses.device)
    terms = []
    for step, loss in zip(steps, losses.unbind(), strict=True):
        total = loss + fixed.to(loss.device)
        for part, direction in zip(parts, directions, strict=True):
            if part.decay > 0.0:
                moved = _numerics.add([p.detach() for p in part.parameters], direction, alpha=-step)
                total = total + (squared_norm(moved) * (0.5 * part.decay)).to(loss.device)
        terms.append(total)
    samples = tuple(LineSample(step, value) for step, value in zip(steps, to_host(*terms), strict=True))
    return replace(probe, line=probe.line + samples)
