"""Connectionist temporal classification: the forward recursion over time, carried with its jets in log space.

Autograd's gradient of `ctc_loss` is exp(x) − posterior. Its first part is the gradient of Σ exp(x) over the classes,
which is one for log-probabilities x and therefore moves nothing; but a second-order term that met this cotangent
further up would see it. So the rule differentiates −log Z(x) + Σ exp(x), the function whose gradient autograd returns.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.data.value import Value
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op
from curvestep.engine.rules.tangents import add, mul

LogJet = tuple[Tensor, "Tensor | None", "Tensor | None"]


def _lengths(arg: Any, site: Site, device: torch.device) -> Tensor:
    if isinstance(arg, Value):
        return site.data(arg).to(device)
    return torch.tensor(list(arg), device=device)


def _labels(targets: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Each sample's targets with blanks between and around, padded with blanks: shape (batch, 2·longest + 1)."""
    longest = int(lengths.max()) if lengths.numel() else 0
    out = torch.full((len(lengths), 2 * longest + 1), blank, dtype=torch.int64, device=targets.device)
    start = 0
    for i, n in enumerate(lengths.tolist()):
        row = targets[i, :n] if targets.dim() == 2 else targets[start : start + n]
        out[i, 1 : 2 * n : 2] = row
        start += n
    return out


def _log_sum(parts: list[LogJet]) -> LogJet:
    """log Σ exp over the parts: means under p = softmax, and the variance of the first tangents."""
    a = torch.stack([part[0] for part in parts])
    top = a.max(0).values
    none = top == -math.inf
    y = torch.where(none, -math.inf, torch.logsumexp(torch.where(none, 0.0, a), 0))
    p = torch.where(none, 0.0, torch.exp(a - torch.where(none, 0.0, y)))

    def mean(at: int) -> Tensor | None:
        held = [part[at] for part in parts]
        if all(t is None for t in held):
            return None
        return (p * torch.stack([torch.zeros_like(y) if t is None else t for t in held])).sum(0)

    first, second = mean(1), mean(2)
    if first is not None:
        d = torch.stack([torch.zeros_like(y) if part[1] is None else part[1] for part in parts])
        second = add(second, (p * (d - first).square()).sum(0))
    return y, first, second


def _shifted(jet: LogJet, by: int, allowed: Tensor | None = None) -> LogJet:
    """The states `by` places before, −∞ where there are none or where the step is not allowed."""

    def move(t: Tensor | None, fill: float) -> Tensor | None:
        if t is None:
            return None
        moved = torch.nn.functional.pad(t, (by, 0), value=fill)[:, : t.shape[1]]
        return moved if allowed is None else torch.where(allowed, moved, fill)

    first = move(jet[0], -math.inf)
    assert first is not None
    return first, move(jet[1], 0.0), move(jet[2], 0.0)


def _likelihood(s: Site) -> LogJet:
    """log Z of each sample, the sum over all alignments of the product of their probabilities."""
    x, blank = s.x(0), s.arg(4, 0)
    steps = _lengths(s.arg(2), s, x.device)
    sizes = _lengths(s.arg(3), s, x.device)
    labels = _labels(s.x(1), sizes, blank)
    batch, states = labels.shape

    def emitted(t: Tensor | None, at: int) -> Tensor | None:
        return None if t is None else t[at].gather(1, labels)

    # a label may be reached from the one before it, skipping the blank, unless both are the same
    skips = torch.zeros_like(labels, dtype=torch.bool)
    skips[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    start = torch.arange(states, device=x.device).expand(batch, states) < 2
    first_emission = emitted(x, 0)
    assert first_emission is not None

    def begin(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.where(start, t, 0.0)

    alpha: LogJet = (
        torch.where(start, first_emission, -math.inf), begin(emitted(s.d(0), 0)), begin(emitted(s.dd(0), 0))
    )  # fmt: skip
    for at in range(1, x.shape[0]):
        y, dy, ddy = _log_sum([alpha, _shifted(alpha, 1), _shifted(alpha, 2, skips)])
        running = (at < steps).unsqueeze(1)
        new = (y + emitted(x, at), add(dy, emitted(s.d(0), at)), add(ddy, emitted(s.dd(0), at)))  # type: ignore[operator]
        zero = torch.zeros_like(y)
        alpha = (
            torch.where(running, new[0], alpha[0]),
            None if new[1] is None else torch.where(running, new[1], zero if alpha[1] is None else alpha[1]),
            None if new[2] is None else torch.where(running, new[2], zero if alpha[2] is None else alpha[2]),
        )

    def last(t: Tensor | None, back: int) -> Tensor | None:
        return None if t is None else t.gather(1, (2 * sizes - back).clamp(min=0).unsqueeze(1)).squeeze(1)

    ends: list[LogJet] = []
    for back in (0, 1):
        end = last(alpha[0], back)
        assert end is not None
        if back:  # an empty target ends in its only blank
            end = torch.where(sizes > 0, end, -math.inf)
        ends.append((end, last(alpha[1], back), last(alpha[2], back)))
    return _log_sum(ends)


def _ctc(s: Site) -> list[Jet]:
    x, dx, ddx = s.x(0), s.d(0), s.dd(0)
    z, dz, ddz = _likelihood(s)
    steps = _lengths(s.arg(2), s, x.device)
    possible = z != -math.inf
    within = torch.arange(x.shape[0], device=x.device).unsqueeze(1) < steps  # (time, batch)
    p = torch.exp(x)

    def mass(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.where(within, (p * t).sum(2), 0.0).sum(0)

    def found(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.where(possible, t, 0.0)

    first = add(mul(-1.0, dz), mass(dx))
    second = add(mul(-1.0, ddz), mass(ddx), mass(None if dx is None else dx * dx))
    return [(found(first), found(second)), (None, None)]


def _ctc_axis(s: AxisSite) -> list[Annotation]:
    """Samples on axis 1 of the scores, in front in lengths and padded targets; lengths tell joined targets apart."""
    known = s.at(0)
    if isinstance(known, SampleAxis):
        known = known.at(0) if known.dim == 1 else Marker.LOST
    targets = s.at(1)
    if len(s.shape(1)) == 1:
        targets = Marker.LOST if isinstance(targets, SampleAxis) else Marker.SHARED
    lengths = [s.of(v) for v in s.node.inputs[2:]]
    return [merge([known, targets, *lengths]), Marker.LOST]


for _op in (aten._ctc_loss.Tensor, aten._ctc_loss.default):
    op(_op, Rule(Kind.NONLINEAR, _ctc, _ctc_axis, keep_inputs=(0,)))
