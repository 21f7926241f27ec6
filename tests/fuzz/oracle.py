"""A program under the engine, beside three truths that the engine does not make.

| quantity | truth |
|---|---|
| slope, total, product | double backward of the program, and extrapolated central differences of its loss |
| rows called exact | the curvature of that sample's terms, where `trace` shows that no other sample is in them |
| loss and gradient along a line | the program run there |

Derivatives are those of `explicit.twice_differentiable`: torch has no other truth for some operations.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import curvestep
from curvestep._errors import CurvestepError
from tests.fuzz.explicit import twice_differentiable
from tests.fuzz.programs import Program, normal
from tests.fuzz.trace import MIXED, Samples, couples, readings, trace_terms

# Double backward and the pass round differently: some hundred operations of relative error 1e-16 each, multiplied by
# the cancellation that `Truth.scale` does not see (a norm's or a solve's). 1e-9 leaves a factor of a thousand.
RTOL = 1e-9

# The steps of the central differences: at 0.04, where the direction's elements have size 0.3, the next term of the
# extrapolation is about 1e-10 of the value; at 0.01 the loss's last digit, divided by the square, is 1e-12.
STEPS = (0.04, 0.02, 0.01)
FAR = 0.02  # how far a line is followed


@dataclass(frozen=True)
class Fault:
    """What is wrong: a kind that does not depend on the numbers, and the numbers."""

    kind: str
    detail: str


@dataclass
class Report:
    """What one case gave."""

    faults: list[Fault] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    checks: int = 0
    unjudged: list[str] = field(default_factory=list)  # what no truth could be had for


@dataclass(frozen=True)
class Estimate:
    """A number by differences and how far it may be off."""

    value: float
    error: float


def differences(values: dict[float, float], at: float) -> tuple[Estimate, Estimate]:
    """Slope and curvature of t ↦ J by central differences at `STEPS`, extrapolated to step 0 (Richardson).

    The error is what the last extrapolation changed, plus the rounding of the losses over the smallest step, which the
    two extrapolations enlarge by at most (16/15)(4/3) + (1/15)(1/3) < 2.
    """
    size = max(abs(at), *(abs(v) for v in values.values()))
    noise = 8 * torch.finfo(torch.float64).eps * size  # a loss is a sum of some terms, each rounded
    found = []
    for order in (1, 2):
        d = [
            (values[h] - values[-h]) / (2 * h) if order == 1 else (values[h] - 2 * at + values[-h]) / h**2
            for h in STEPS
        ]
        once = [(4 * fine - rough) / 3 for rough, fine in zip(d, d[1:], strict=False)]
        twice = (16 * once[1] - once[0]) / 15
        found.append(Estimate(twice, 10 * abs(twice - once[1]) + 2 * 4 * noise / STEPS[-1] ** order))
    return found[0], found[1]


class Truth:
    """Everything about a program that is known without the engine, computed when it is asked for."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tensors = program.tensors()
        self.run = program.bind(self.tensors)
        self.params = [self.tensors[leaf.name] for leaf in program.params]
        self.direction = [0.3 * normal(1000 + i, *p.shape) for i, p in enumerate(self.params)]
        self.loss = self.run()[0].detach()
        self.samples = trace_terms(program)
        self.slope: Tensor | None = None
        self.total: Tensor | None = None
        self.product: Tensor | None = None
        self.gradient = self.gradient_at(0.0)
        try:
            self._double_backward()
        except (RuntimeError, NotImplementedError) as absent:
            if "not implemented" not in str(absent) and "inplace operation" not in str(absent):
                raise
            self.slope = self.total = self.product = None

    @property
    def scale(self) -> float:
        """The size of what is added up: a total may be much smaller than its terms."""
        assert self.product is not None and self.total is not None and self.slope is not None
        d = _flat(self.direction)
        sizes = self.loss.abs() + self.gradient.norm() * d.norm() + self.product.norm() * d.norm()
        return 1e-3 + float(sizes)

    def loss_at(self, t: float) -> float:
        """J(θ + t d)."""
        return self._moved(t)[0]()[0].item()

    def gradient_at(self, t: float) -> Tensor:
        """∇J(θ + t d)."""
        run, params = self._moved(t)
        with twice_differentiable():
            loss = run()[0]
        return _flat(_filled(torch.autograd.grad(loss, params, allow_unused=True), params))

    def _moved(self, t: float) -> tuple[Callable[..., tuple[Tensor, Tensor | None]], list[Tensor]]:
        """The program at θ + t d, and what stands there for the parameters."""
        moved = {**self.tensors}
        params = []
        for leaf, p, d in zip(self.program.params, self.params, self.direction, strict=True):
            moved[leaf.name] = (p.detach() + t * d).requires_grad_()
            params.append(moved[leaf.name])
        return self.program.bind(moved), params

    def by_differences(self) -> tuple[Estimate, Estimate]:
        """(slope, total) without any derivative of torch's."""
        return differences({t: self.loss_at(t) for h in STEPS for t in (h, -h)}, self.loss.item())

    def rows(self) -> tuple[Tensor, Tensor] | None:
        """(slopes, curvatures) of each sample's loss J_s, whose mean is J; None where samples mix."""
        if not isinstance(self.samples, Samples):
            return None
        with twice_differentiable():
            loss, each = self.run(True)
        assert each is not None
        batch = self.program.batch
        penalty = torch.zeros(())
        if self.program.penalty is not None:
            penalty = 0.1 * (self.tensors[self.program.penalty] ** 4).sum()
        factor = ((loss - penalty) / each.sum()).detach()  # 1 of a sum, 1/n of a mean, 1/Σw of a weighted one
        parts = batch * factor * self.samples.sums(each, batch) + penalty
        # One double backward a sample: torch's third derivatives, which one for all would need, are wrong for norms.
        found = [self._twice(part) for part in parts]
        slopes = torch.stack([slope for slope, _ in found])
        curved = torch.stack([_flat(product) @ _flat(self.direction) for _, product in found])
        assert self.total is not None
        off = abs(float(curved.mean() - self.total))
        # Of a loss that is no weighted sum of its terms the parts are none.
        return (slopes, curved) if off <= 1e-8 * (batch * self.scale + float(curved.abs().max())) else None

    def _twice(self, loss: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(⟨∇loss, d⟩, ∇²loss d), the graph of the loss kept."""
        grads = torch.autograd.grad(loss, self.params, create_graph=True, allow_unused=True)
        slope = _dot(grads, self.direction)
        product: Sequence[Tensor | None] = [None] * len(self.params)
        if slope.requires_grad:
            product = torch.autograd.grad(slope, self.params, retain_graph=True, allow_unused=True)
        return slope.detach(), _filled(product, self.params)

    def _double_backward(self) -> None:
        with twice_differentiable():
            self.slope, product = self._twice(self.run()[0])
        self.product = _flat(product)
        self.total = (self.product * _flat(self.direction)).sum()


class Examination:
    """One program recorded once and measured by every pass."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.truth = Truth(program)
        self.report = Report()
        self.doubted = False  # whether double backward is what differs from the other two

    def run(self) -> Report:
        """Record, measure, compare."""
        self._compare_truths()
        tape = self._attempt("record", self._record)
        if tape is None:
            return self.report
        mode, params, d = self.program.mode, self.truth.params, self.truth.direction
        found = self._attempt("curvature", lambda: tape.curvature(params, d, form=mode.form))
        if found is not None:
            self._whole(found)
            self._rows(found)
        if mode.samples is not None:
            part = self._attempt("part", lambda: tape.curvature(params, d, form=mode.form, samples=mode.samples))
            if part is not None:
                self._part(part)
                whole = self._attempt(
                    "part, not split",
                    lambda: tape.curvature(params, d, form=mode.form, samples=mode.samples, per_sample=False),
                )
                self._unsplit(part, whole)
        product = self._attempt("hvp", lambda: tape.hvp(params, d))
        if product is not None and self.truth.product is not None and not self.doubted:
            self._agree("hvp", _flat(product), self.truth.product, self.truth.scale)
        far, steep = self.truth.loss_at(FAR), self.truth.gradient_at(FAR)
        line = self._attempt("loss_along", lambda: tape.loss_along(params, d, [0.0, FAR]))
        if line is not None:
            self._agree("loss_along", line, torch.tensor([self.truth.loss.item(), far]), abs(far) + 1e-3)
        there = self._attempt("gradient_along", lambda: tape.gradient_along(params, d, FAR))
        if there is not None:
            self._agree("gradient_along", _flat(there), steep, 1e-3 + float(steep.norm()))
        return self.report

    def _record(self) -> Any:
        mode = self.program.mode
        size = self.program.batch if mode.stated else None
        one = torch.ones(())
        with curvestep.record(size, memory=mode.memory, products=mode.products) as tape:  # pyright: ignore
            loss = self.truth.run()[0]
            if mode.backward == "grad":
                torch.autograd.grad(loss, self.truth.params, allow_unused=True)
            else:
                loss.backward(one if mode.backward == "prebuilt" else None, retain_graph=mode.backward == "retained")
        return tape

    def _attempt(self, what: str, call: Callable[[], Any]) -> Any:
        """The result, or None after a refusal or a crash was noted."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return call()
        except CurvestepError as refusal:
            self.report.refusals.append(f"{what}: {_sentence(str(refusal))}")
        except Exception as crash:  # whatever is no refusal is a fault of the engine: the program ran without it
            name = type(crash).__name__
            self.report.faults.append(Fault(f"{what} raises {name}: {_sentence(str(crash))[:80]}", str(crash)[:300]))
        return None

    def _compare_truths(self) -> None:
        """Differences and double backward check each other, so that neither is wrong in silence."""
        truth = self.truth
        slope, total = self.differences = truth.by_differences()
        if truth.total is None or truth.slope is None:
            self.report.unjudged.append("double backward")
            return
        if self.program.kinked:
            return
        for name, by, exact in (("slope", slope, truth.slope), ("total", total, truth.total)):
            if abs(by.value - float(exact)) > by.error + 1e-7 * truth.scale:
                self.report.unjudged.append(f"{name}: the truths differ")

    def _whole(self, found: Any) -> None:
        """Total and slope."""
        truth = self.truth
        pairs = (("slope", found.slope, truth.slope, 0), ("total", found.total, truth.total, 1))
        for name, given, exact, k in pairs:
            by = self.differences[k]
            differ = f"{name}: the truths differ" in self.report.unjudged
            if exact is not None and (not differ or abs(float(given - exact)) <= RTOL * truth.scale):
                self._agree(name, given, exact, truth.scale)  # where the truths differ, two of three agree
            elif not self.program.kinked:
                # The pass may be right where torch's double backward is not.
                if exact is not None and not self.doubted:
                    self.doubted = True
                    self.report.unjudged.append("rows, parts and product: double backward differs")
                size = 1e-3 + abs(by.value) + abs(truth.loss.item())
                self._agree(name, given, torch.tensor(by.value), size, by.error + 1e-7 * size)
        if found.per_sample is not None:
            self._agree(
                "mean of rows", found.per_sample.mean(), found.total, float(found.per_sample.abs().max()) + 1e-3
            )

    def _rows(self, found: Any) -> None:
        """Rows that are called exact."""
        if found.per_sample is None or not found.per_sample_exact or self.truth.total is None or self.doubted:
            return
        rows = self.truth.rows()
        if rows is None and self.truth.samples == MIXED and couples(self.program, 1e-8 * self.truth.scale):
            self.report.faults.append(
                Fault("rows called exact of a loss that couples samples", _brief(found.per_sample))
            )
            return
        if rows is None:
            self.report.unjudged.append("rows called exact where no truth is at hand")
            return
        if found.per_sample.shape != rows[1].shape and found.samples_guessed:
            self.report.unjudged.append("rows of another number of samples, which the result says was guessed")
            return
        if found.per_sample.shape != rows[1].shape:
            self.report.faults.append(Fault("number of rows", f"{found.per_sample.numel()}, truth {rows[1].numel()}"))
            return
        scale = self._row_scale(rows[1])
        off = (found.per_sample.detach() - rows[1]).abs().max().item()
        if not off <= RTOL * scale and self._read_otherwise(found.per_sample.detach()):
            return
        self._agree("rows", found.per_sample, rows[1], scale)

    def _read_otherwise(self, given: Tensor) -> bool:
        """Whether rows are those of another reading of the data; what follows is then judged by that one."""
        for program in readings(self.program):
            truth = Truth(program)
            rows = truth.rows()
            if rows is not None and (given - rows[1]).abs().max().item() <= RTOL * self._row_scale(rows[1]):
                self.truth = truth
                self.report.unjudged.append("rows along the other axis of data that has two as long as the batch")
                return True
        return False

    def _part(self, found: Any) -> None:
        """A part whose rows are exact has rows of the batch, and their means."""
        if self.truth.total is None or self.doubted:
            return
        # A part of a guessed number of samples may be as long as the batch.
        if found.samples is None or (found.indices or tuple(range(found.samples))) == tuple(range(self.program.batch)):
            self._agree("whole batch for a part", found.total, self.truth.total, self.truth.scale)
            return
        rows = self.truth.rows()
        if rows is None or found.per_sample is None or not found.per_sample_exact:
            self.report.unjudged.append("a part without exact rows")
            return
        chosen = list(found.indices or range(len(found.per_sample)))
        scale = self._row_scale(rows[1])
        self._agree("rows of a part", found.per_sample, rows[1][chosen], scale)
        self._agree("total of a part", found.total, rows[1][chosen].mean(), scale)
        self._agree("slope of a part", found.slope, rows[0][chosen].mean(), scale + float(rows[0].abs().max()))

    def _unsplit(self, part: Any, whole: Any) -> None:
        """A part has the same total whether it is split or not."""
        if part.per_sample_exact and whole is not None and not self.doubted:
            scale = self._row_scale(part.per_sample.detach())
            self._agree("total of a part, not split", whole.total, part.total.detach(), scale)

    def _row_scale(self, rows: Tensor) -> float:
        return self.program.batch * self.truth.scale + float(rows.abs().max())

    def _agree(self, kind: str, given: Tensor, true: Tensor, scale: float, tolerance: float = 0.0) -> None:
        self.report.checks += 1
        if not (bool(true.isfinite().all()) and math.isfinite(scale)):
            self.report.unjudged.append(f"{kind}: the truth is not finite")
            return
        off = (given.detach() - true).abs().max().item()
        if not off <= max(RTOL * scale, tolerance):  # a comparison with NaN is false, so that NaN is a fault
            self.report.faults.append(Fault(kind, f"{_brief(given)}, truth {_brief(true)}"))


def examine(program: Program) -> Report:
    """What the engine makes of a program; torch's default dtype has to be float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Examination(program).run()


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def _filled(found: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, like, strict=True)]


def _dot(found: Sequence[Tensor | None], direction: Sequence[Tensor]) -> Tensor:
    return sum(((g * d).sum() for g, d in zip(found, direction, strict=True) if g is not None), torch.zeros(()))


def _sentence(text: str) -> str:
    """The first sentence without its numbers."""
    return re.sub(r"\d+", "N", re.split(r"\.\s", text.strip().split("\n")[0], maxsplit=1)[0])


def _brief(t: Tensor) -> str:
    return "[" + ", ".join(f"{v:.8g}" for v in t.detach().reshape(-1)[:6].tolist()) + "]"
