"""How far a measured curvature is from that of the same network in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor

import curvestep
from benchmarks.overhead.cases import Case
from benchmarks.overhead.prepared import Measured

if TYPE_CHECKING:
    from benchmarks.overhead.cases import CaseSpec

Kind = Literal["exact", "ggn"]


@final
class Reference:
    """The curvature along the gradient in float64, each product a product of its own.

    Args:
        spec: the network.
        device: where it is.
    """

    def __init__(self, spec: CaseSpec, device: torch.device) -> None:
        self._spec = spec
        self._device = device
        self._found: dict[Kind, Measured | None] = {}
        self._direction: list[Tensor] | None = None

    @property
    def direction(self) -> list[Tensor]:
        """The gradient, in float32."""
        if self._direction is None:
            case = self._spec.build(self._device)
            case.loss().backward()
            self._direction = [
                torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in case.parameters
            ]
        return self._direction

    def of(self, kind: Kind) -> Measured | None:
        """The curvature of all samples; None where float64 does not fit or has no kernel."""
        if kind not in self._found:
            try:
                self._found[kind] = self._measure(kind)
            except (RuntimeError, NotImplementedError):
                self._found[kind] = None
        return self._found[kind]

    def _measure(self, kind: Kind) -> Measured:
        """Measure in float64, so many samples at once as the spec says."""
        case = self._spec.build(self._device)
        direction = [d.double() for d in self.direction]
        network, inputs = case.network.double(), case.inputs
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        checked = self._spec.checked or self._spec.batch
        at_once = min(self._spec.at_once or checked, checked)
        totals: list[tuple[int, float]] = []
        split: list[Tensor] = []
        for start in range(0, checked, at_once):
            rows = slice(start, start + at_once)
            part = Case(network, inputs[rows], case.targets[rows])
            with curvestep.record(products="naive") as tape:
                part.loss().backward()
            found = tape.curvature(part.parameters, direction, kind=kind)
            totals.append((len(part.inputs), found.total.item()))
            if found.per_sample is not None and found.per_sample_exact:
                split.append(found.per_sample.cpu())
            tape.release()
            for p in part.parameters:
                p.grad = None
        whole = checked == self._spec.batch
        total = sum(n * value for n, value in totals) / sum(n for n, _ in totals) if whole else math.nan
        return Measured(total, torch.cat(split) if len(split) == len(totals) else None)


def errors(measured: Measured, truth: Measured) -> tuple[float | None, float | None]:
    """Compare.

    Args:
        measured: of all samples, or of some.
        truth: of all samples, or of the first ones; its total is no number where it is not of all samples.

    Returns:
        The relative error of the total, where the split can be had of the samples of both; the largest error of a
        sample over the largest absolute value of one, None where samples are not told apart.
    """
    split = measured.per_sample
    if split is None or truth.per_sample is None:
        return None if math.isnan(truth.total) else abs(measured.total - truth.total) / abs(truth.total), None
    indices = measured.indices or range(len(split))
    known = [(place, s) for place, s in enumerate(indices) if s < len(truth.per_sample)]
    total = measured.total if len(known) == len(split) else split[[place for place, _ in known]].mean().item()
    split, true = split[[place for place, _ in known]], truth.per_sample[[s for _, s in known]]
    largest = ((split - true).abs().max() / true.abs().max()).item()
    return abs(total - true.mean().item()) / abs(true.mean().item()), largest


def error_of(
    curvature: Callable[[Sequence[Tensor]], Measured], kind: Kind, reference: Reference
) -> tuple[float | None, float | None]:
    """The errors of a variant's curvature along the gradient, as in `errors`; None twice without a reference."""
    truth = reference.of(kind)
    return (None, None) if truth is None else errors(curvature(reference.direction), truth)
