"""Adam's direction, averaged weights, and measurements at the average at the ends of growing windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import curvestep
from benchmarks.league.methods.average import Average

BETA1, BETA2, EPS = 0.9, 0.99, 1e-8


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Return the inner product of two lists of tensors."""
    return math.fsum(float((a * b).sum()) for a, b in zip(left, right, strict=True))


@dataclass
class Reading:
    """What a window's end gave, on one fresh batch at the averaged weights x̄.

    D = x̄ − x̄' is the displacement over the window, E = z − x̄ the way from the average to the iterate.
    """

    step: int
    scale: float
    loss: float  # J(x̄)
    before: float  # J(x̄')
    iterate: float  # J(z)
    slope: float  # σ = ⟨∇J(x̄), D⟩
    slope_error: float  # its standard error, from parts of the batch
    curvature: float  # κ = DᵀH(x̄)D
    absolute: float  # mean over samples of |DᵀH_s D|
    out_slope: float  # ⟨∇J(x̄), E⟩
    out_curvature: float  # EᵀH(x̄)E
    length: float  # ‖D‖
    noise: float  # Σ D² (ṽ − m̃²), a variance of the slope from Adam's averages
    extra: dict[str, float] = field(default_factory=dict)


class Windowed:
    """Base of the prototypes: a subclass says what scale the next steps have.

    A window's end takes one batch of the run: the forward and backward that the user runs inside ``record`` is then
    that of x̄, it is measured, and no step is taken with it.

    With ``steps_at_ends`` a step of z follows with that gradient.

    Args:
        params: what is trained.
        every: a step's own curvature is measured on every so many steps; 0 never.
        growth: the next window is this times longer ...
        offset: ... and this many steps more.
    """

    steps_at_ends = False

    def __init__(self, params: Sequence[nn.Parameter], every: int = 16, growth: float = 1.25, offset: int = 5) -> None:
        self.parameters = list(params)
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.average = Average(self.parameters)
        self.start = [p.detach().clone() for p in self.parameters]  # x̄ at the beginning of the window
        self.z: list[Tensor] | None = None
        self.count, self.calls, self.every, self.growth, self.offset = 0, 0, every, growth, offset
        self.end = offset
        self.tape: Any = None
        self.readings: list[Reading] = []
        self.curvature: float | None = None  # smoothed mean |dᵀH_s d| / ‖d‖²
        self.last_measured = -(10**9)
        self.taus: list[float] = []
        self.held = 0
        self.bounds: list[float] = []

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    # -- what a subclass decides

    def scale(self, size: float) -> float:
        """Return τ of this step."""
        raise NotImplementedError

    def learn(self, reading: Reading) -> None:
        """Take a window's reading."""

    def needs_window(self) -> bool:
        """Whether this call is a window's end."""
        return self.count >= self.end

    def needs_curvature(self) -> bool:
        """Whether this step's own curvature is measured."""
        return self.every > 0 and self.count - self.last_measured >= min(self.every, 1 + self.count // 10)

    # -- the loop

    def record(self) -> AbstractContextManager[Any]:
        """Return the context around forward and backward."""
        if self.needs_window():
            self.z = [p.detach().clone() for p in self.parameters]
            with torch.no_grad():
                torch._foreach_copy_([p.detach() for p in self.parameters], self.average.values)
            return self._recording()
        return self._recording() if self.needs_curvature() else nullcontext()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        with curvestep.record() as tape:
            yield
        self.tape = tape

    def gradients(self) -> list[Tensor]:
        """Return the gradients, zero where there is none."""
        return [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Measure at a window's end; otherwise step."""
        tape, self.tape = self.tape, None
        self.calls += 1
        if self.z is not None:
            self._close(tape)
            tape.release()
            if not self.steps_at_ends:
                return
            tape = None
        g = self.gradients()
        self.count += 1
        torch._foreach_lerp_(self.m, g, 1.0 - BETA1)
        torch._foreach_mul_(self.v, BETA2)
        torch._foreach_addcmul_(self.v, g, g, 1.0 - BETA2)
        d = self.direction()
        size = dot(d, d)
        slope = dot(d, g)
        if tape is not None:
            found = tape.curvature(self.parameters, d, samples=0.25)
            values = found.total.reshape(1) if found.per_sample is None else found.per_sample
            fresh = float(values.abs().mean()) / max(size, 1e-30)
            self.curvature = fresh if self.curvature is None else 0.8 * self.curvature + 0.2 * fresh
            self.last_measured = self.count
            tape.release()
        bound = abs(slope) / (size * self.curvature) if self.curvature else math.inf  # ℓ = ½
        self.bounds.append(bound)
        tau = self.scale(bound)
        self.taus.append(tau)
        torch._foreach_add_([p.data for p in self.parameters], d, alpha=-tau)
        self.average.advance()

    def direction(self) -> list[Tensor]:
        """Return Adam's direction."""
        first, second = 1.0 - BETA1**self.count, 1.0 - BETA2**self.count
        d = torch._foreach_sqrt(self.v)
        torch._foreach_div_(d, math.sqrt(second))
        torch._foreach_add_(d, EPS)
        d = torch._foreach_div(self.m, d)
        torch._foreach_div_(d, first)
        return list(d)

    def _slope_error(self, tape: Any, direction: Sequence[Tensor]) -> float:
        """Return the standard error of the slope from four parts of the batch."""
        sums, counts = [0.0], [0]
        for part in (0.25, 0.5, 0.75, 1.0):
            found = tape.curvature(self.parameters, direction, samples=part, per_sample=False)
            if found.samples is None:
                return 0.0
            sums.append(float(found.slope) * found.samples)
            counts.append(found.samples)
        if len(set(counts)) < 5:
            return 0.0
        parts = torch.tensor(
            [(b - a) / (n - c) for a, b, c, n in zip(sums, sums[1:], counts, counts[1:], strict=False)]
        )
        return float(parts.std() / 2.0)

    def _close(self, tape: Any) -> None:
        """Measure at x̄, put z back, open the next window."""
        z, self.z = self.z, None
        assert z is not None
        g, values = self.gradients(), self.average.values
        d = [new - old for new, old in zip(values, self.start, strict=True)]
        e = [a - b for a, b in zip(z, values, strict=True)]
        along = tape.curvature(self.parameters, d)
        out = tape.curvature(self.parameters, e)
        before = tape.loss_along(self.parameters, d, [0.0, -1.0])
        after = tape.loss_along(self.parameters, e, [1.0])
        absolute = along.total.abs() if along.per_sample is None else along.per_sample.abs().mean()
        second = 1.0 - BETA2 ** max(1, self.count)
        noise = math.fsum(
            float((x * x * (v / second - m * m).clamp_min_(0.0)).sum())
            for x, v, m in zip(d, self.v, self.m, strict=True)
        )
        reading = Reading(
            self.count, self.taus[-1], float(before[0]), float(before[1]), float(after[0]), dot(g, d),
            self._slope_error(tape, d), float(along.total), float(absolute), dot(g, e), float(out.total),
            math.sqrt(dot(d, d)), noise,
        )  # fmt: skip
        torch._foreach_copy_([p.data for p in self.parameters], z)
        self.readings.append(reading)
        self.learn(reading)
        self.start = [x.clone() for x in values]
        self.end = int(self.growth * self.count) + self.offset
