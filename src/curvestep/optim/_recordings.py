"""What backward left for a step: one recording or several of one loss, and the factor that a GradScaler put on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep.engine import Curvature, Tape
from curvestep.optim._options import Measure

NOTHING_RECORDED = """\
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
    optimizer.step(closure)"""


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
        loss: what the closure returned where nothing was recorded, or None.
    """

    def __init__(self, tapes: Sequence[Tape], scale: Tensor | None, loss: Tensor | None = None) -> None:
        self.tapes = list(tapes)
        self._scale = scale
        self._loss = loss

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
        """Whether a GradScaler's factor is on losses and gradients."""
        return self._scale is not None

    def unscaled(self, tensor: Tensor) -> Tensor:
        """Return a tensor without the GradScaler's factor: the one place that divides by it."""
        return tensor if self._scale is None else tensor / self._scale.to(tensor.device)

    @property
    def loss(self) -> Tensor | None:
        """J, shape (), without the L2 term; None where it was not recorded or returned."""
        if not self.tapes:
            return None if self._loss is None else self.unscaled(self._loss)
        return self.unscaled(_sum([tape.loss for tape in self.tapes]))

    def curvature(self, parameters: Sequence[Tensor], direction: Sequence[Tensor], how: Measure) -> list[Part]:
        """Measure the curvature of each recording along one direction.

        With `how.samples` the first recordings that hold this number of samples are measured, the last of them in part:
        the samples that one recording of the whole batch would measure.

        Returns:
            The parts; Σ weight · mean is the mean over the samples that were measured.
        """
        counts = self._counts(how.samples)
        found = [
            tape.curvature(parameters, direction, samples=count, kind=how.kind, precision=how.precision)
            for tape, count in zip(self.tapes, counts, strict=True)
            if count is None or count > 0
        ]
        if len(self.tapes) == 1:
            return [Part(self._without_scale(found[0]), 1.0, 1.0)]
        # Where one of them shows no samples, each recording counts as one.
        sizes = [tape.batch_size for tape in self.tapes]
        batches = [1 if None in sizes else size or 1 for size in sizes]
        measured = [1 if None in sizes else each.samples or 1 for each in found]
        whole, part = sum(batches), sum(measured)
        return [
            Part(self._without_scale(each), whole * count / (part * batch), batch / whole)
            for each, count, batch in zip(found, measured, batches, strict=False)
        ]

    def _counts(self, samples: float | None) -> list[float | None]:
        """Return for each recording how many of its samples are measured, None for all of them."""
        if samples is None or len(self.tapes) == 1:
            return [samples] * len(self.tapes)
        sizes = [tape.batch_size for tape in self.tapes]
        if None in sizes:
            return [None] * len(self.tapes)
        batches = [size or 1 for size in sizes]
        left = -int(-samples * sum(batches) // 1) if isinstance(samples, float) else int(samples)
        counts: list[float | None] = []
        for batch in batches:
            taken = min(batch, max(left, 0))
            counts.append(None if taken == batch else taken)
            left -= taken
        return counts

    def _without_scale(self, found: Curvature) -> Curvature:
        """Return a result without the GradScaler's factor."""
        if self._scale is None:
            return found
        rows = found.per_sample
        return Curvature(
            self.unscaled(found.total),
            self.unscaled(found.slope),
            None if rows is None else self.unscaled(rows),
            found.per_sample_exact,
            found.source,
            found.samples,
        )

    def losses_along(self, parameters: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]) -> Tensor:
        """Return J(θ + t d) for each t, shape (len(steps),), without the L2 term."""
        return self.unscaled(_sum([tape.loss_along(parameters, direction, steps) for tape in self.tapes]))

    def gradient_along(self, parameters: Sequence[Tensor], direction: Sequence[Tensor], t: float) -> list[Tensor]:
        """Return ∇J(θ + t d), a tensor a parameter, without the L2 term."""
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
