"""What backward left for a step: one recording or several of one loss, and the factor that a GradScaler put on it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, final

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep._shards import any_sharded, placed_as
from curvestep.engine import Curvature, Tape, spread
from curvestep.optim._options import Measure
from curvestep.optim._proof import Left

_NOTHING_RECORDED = """\
step() needs a recorded forward and backward pass, but nothing was recorded since the last step. Either record it,

    with optimizer.record():
        loss = loss_function(model(inputs), targets)
        loss.backward()
    optimizer.step()

or give step a closure,

    def closure():
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        return loss
    optimizer.step(closure)

or, where a trainer owns the loop, call curvestep.attach(model, optimizer) once before it."""

_OF_OTHERS = (
    "A recording of the loss whose gradient is in p.grad was needed, but the losses that were recorded since the last "
    "step gave no parameter of this optimizer a gradient. A recording goes from the first forward of a loss to its "
    "backward: call the modules again for the loss of this step, after the backward of the loss before it."
)


@final
@dataclass
class Pending:
    """What lies between two steps; one object for life, since Lightning's wrapper hands attributes on for reading only.

    Attributes:
        tapes: the recordings since the last step.
        unrecorded: whether there was one that had nothing to record.
        left: `p.grad` as the last recorded backward left it.
        scale: the factor of the GradScaler that was named to ``record``.
        is_averaged: whether the parameters are the averaged ones.
        dropped: whether the last recording was of a loss that gave the parameters no gradient.
    """

    tapes: list[Tape] = field(default_factory=list)
    unrecorded: bool = False
    left: Left | None = None
    scale: Tensor | None = None
    is_averaged: bool = False
    dropped: bool = False

    def take(self) -> tuple[list[Tape], bool, Left | None]:
        """Hand over what was recorded, and begin anew."""
        taken = self.tapes, self.unrecorded, self.left
        self.tapes, self.unrecorded, self.left = [], False, None
        return taken

    def refuse_nothing(self) -> NoReturn:
        """Say why a step has no recording."""
        if self.dropped:
            raise RecordingError(_OF_OTHERS)
        raise RecordingError(_NOTHING_RECORDED)

    def drop(self, tape: Tape) -> None:
        """Free a recording whose loss gave the parameters no gradient."""
        self.tapes = [each for each in self.tapes if each is not tape]
        tape.release()
        self.dropped = True


@final
@dataclass(frozen=True)
class Part:
    """The curvature of the samples that one recording holds."""

    found: Curvature  # what the pass gave
    weight: float  # the factor with which its means enter those of the whole loss
    share: float  # the share of one L2 term that belongs to each of its samples' losses

    @property
    def per_sample(self) -> Tensor:
        """The curvature of each sample's loss; that of all of them where no sample axis was found."""
        rows = self.found.per_sample
        return self.found.total.reshape(1) if rows is None else rows


@final
class Recordings:
    """The loss whose gradient lies in `p.grad`: J = Σ_i J_i, J_i the scalar on which the i-th backward was called.

    With gradient accumulation there is a recording for each micro-batch. J_i is what `backward` was given, so that its
    weight in J is the one that the gradient has: (B_i/B) mean_s J_s for the plain loop, B = Σ_i B_i. Slopes, curvatures
    and losses of the recordings add up; the absolute curvatures of samples do too, since each J_i is a mean over its
    own samples.

    Args:
        tapes: the recordings since the last step, in order; none where nothing is measured on them.
        scale: the factor of a GradScaler on every J_i and on `p.grad`, or None.
        left: `p.grad` as the recorded backward left it; None where backward ran outside of a recording.

    Attributes:
        is_changed: Whether a gradient was replaced or written since backward left it.
        is_unscaled: Whether the factor of the GradScaler is on the recorded losses alone, and not on `p.grad` any more.
        loss: what the closure returned where nothing was recorded, or None.
    """

    def __init__(
        self, tapes: Sequence[Tape], scale: Tensor | None, loss: Tensor | None = None, left: Left | None = None
    ) -> None:
        self.tapes = list(tapes)
        self.left = left
        self.is_changed = False
        self.is_unscaled = False
        self._scale = scale
        self._loss = loss
        self._joint: Tensor | None = None

    def require_backward(self) -> None:
        """Refuse unless each recording contains one backward; of several, those without one are dropped."""
        ran = [tape for tape in self.tapes if tape.backwards > 0]
        for tape in self.tapes:
            if ran and tape.backwards == 0:  # its micro-batch added nothing to the gradient
                tape.release()
        self.tapes = ran or self.tapes
        for tape in self.tapes:
            tape.require_backward()

    @property
    def is_scaled(self) -> bool:
        """Whether a GradScaler's factor is on the gradients."""
        return self._scale is not None and not self.is_unscaled

    @property
    def noted_scale(self) -> Tensor | None:
        """The factor that is on the recorded losses alone."""
        return self._scale if self.is_unscaled else None

    def unscaled(self, tensor: Tensor) -> Tensor:
        """Return a tensor without the GradScaler's factor: the one place that divides by it."""
        return tensor if self._scale is None else tensor / self._scale.to(tensor.device)

    @property
    def loss(self) -> Tensor | None:
        """J, shape (), without the L2 term; None where it was not recorded or returned."""
        if not self.tapes:
            return None if self._loss is None else self.unscaled(self._loss)
        if self._joint is None:
            self._joint = self.unscaled(_sum([tape.loss for tape in self.tapes]))
        return self._joint

    def curvature(self, parameters: Sequence[Tensor], direction: Sequence[Tensor], how: Measure) -> list[Part]:
        """Measure the curvature of each recording along one direction.

        With `how.samples` those samples of each are measured that one recording of the whole batch would measure.

        Returns:
            The parts; Σ weight · mean is the mean over the samples that were measured.
        """
        direction = _cut_as(parameters, direction)
        if len(self.tapes) == 1:
            found = self.tapes[0].curvature(
                parameters, direction, samples=how.samples, part=how.part, kind=how.kind, precision=how.precision
            )
            return [Part(self._without_scale(found), 1.0, 1.0)]
        sizes = [tape.batch_size for tape in self.tapes]
        known = [1 if size is None else size for size in sizes]
        # Where one of them shows no samples, each recording counts as one.
        counted = None not in sizes
        batches = known if counted else [1] * len(sizes)
        chosen = self._chosen(known, how) if counted and how.samples is not None else [None] * len(sizes)
        measured = [
            (
                tape.curvature(parameters, direction, samples=own, kind=how.kind, precision=how.precision),
                batch,
            )
            for tape, own, batch in zip(self.tapes, chosen, batches, strict=True)
            if own is None or own
        ]
        counts = [each.samples or 1 if counted else 1 for each, _ in measured]
        whole, part = sum(batches), sum(counts)
        return [
            Part(self._without_scale(each), whole * count / (part * batch), batch / whole)
            for (each, batch), count in zip(measured, counts, strict=True)
        ]

    @staticmethod
    def _chosen(batches: Sequence[int], how: Measure) -> list[Sequence[int]]:
        """Return for each recording which of its samples belong to the part of the whole batch."""
        whole, samples = sum(batches), how.samples
        assert samples is not None
        count = min(whole, math.ceil(samples * whole) if isinstance(samples, float) else samples)
        indices = spread(whole, count, int(how.part))
        found: list[Sequence[int]] = []
        start = 0
        for batch in batches:
            first, last = bisect_left(indices, start), bisect_left(indices, start + batch)
            found.append([index - start for index in indices[first:last]])
            start += batch
        return found

    def _without_scale(self, found: Curvature) -> Curvature:
        """Return a result without the GradScaler's factor."""
        if self._scale is None:
            return found
        rows = found.per_sample
        return replace(
            found,
            total=self.unscaled(found.total),
            slope=self.unscaled(found.slope),
            per_sample=None if rows is None else self.unscaled(rows),
        )

    def slope(self, parameters: Sequence[Tensor], direction: Sequence[Tensor]) -> list[Tensor]:
        """Return the terms of ⟨∇J, d⟩ over all samples, without the L2 term, by a pass over every recording."""
        direction = _cut_as(parameters, direction)
        found = [tape.curvature(parameters, direction, per_sample=False) for tape in self.tapes]
        return [self.unscaled(each.slope) for each in found]

    def losses_along(self, parameters: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]) -> Tensor:
        """Return J(θ + t d) for each t, shape (len(steps),), without the L2 term."""
        direction = _cut_as(parameters, direction)
        return self.unscaled(_sum([tape.loss_along(parameters, direction, steps) for tape in self.tapes]))

    def gradient_along(self, parameters: Sequence[Tensor], direction: Sequence[Tensor], t: float) -> list[Tensor]:
        """Return ∇J(θ + t d), a tensor a parameter, whole where that is sharded, without the L2 term."""
        direction = _cut_as(parameters, direction)
        found = [tape.gradient_along(parameters, direction, t) for tape in self.tapes]
        return [self.unscaled(_sum(list(terms))) for terms in zip(*found, strict=True)]

    def dtypes(self) -> set[torch.dtype]:
        """Return the dtypes of all values with a gradient that the loss went through."""
        return {
            value.dtype
            for tape in self.tapes
            for node in tape.nodes
            for value in node.outputs
            if value is not None and value.needs_grad
        }

    def release(self) -> None:
        """Free the recordings."""
        for tape in self.tapes:
            tape.release()


def _cut_as(parameters: Sequence[Tensor], direction: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return a direction, of which a process holds its parts, as tensors that are cut as the parameters are."""
    if not any_sharded(parameters):
        return direction
    return [placed_as(d, p) for d, p in zip(direction, parameters, strict=True)]


def _sum(terms: list[Tensor]) -> Tensor:
    """Return the sum; the one term itself where there is one."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term.to(total.device)
    return total


def returned_loss(returned: Any) -> Tensor:
    """Return what a closure returned as a detached tensor of shape (); refuse what is not one number."""
    if isinstance(returned, Tensor) and returned.numel() == 1:
        return returned.detach().reshape(())
    if isinstance(returned, (int, float)):
        return torch.tensor(float(returned), dtype=torch.float64)
    msg = (
        "This optimizer reads the loss that the closure returns, but the closure returned "
        f"{'a tensor of shape ' + str(tuple(returned.shape)) if isinstance(returned, Tensor) else repr(returned)}: "
        "end it with 'return loss', the scalar that backward was called on."
    )
    raise RecordingError(msg)
