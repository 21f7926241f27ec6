"""Figure 3: the training loss while ℓ is 1, ½ and 2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.evidence.claims.ends import Ends, judged
from benchmarks.paper.plan import ScaleName, figures
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord
from curvestep.report.table import number

#: Epochs of each phase and its ℓ, again and again.
PHASES = ((5, 1.0), (13, 0.5), (2, 2.0))
_METHODS = ("ran-sgd", "ran-rmsprop")


class Phase(NamedTuple):
    """A stretch of epochs at one ℓ, from after epoch `start` to after epoch `end`."""

    ell: float
    start: int
    end: int


def phases(count: int) -> list[Phase]:
    """The whole phases of a run that can be judged: the first one has no epoch before it, and begins after its first.

    Args:
        count: number of epochs.

    Returns:
        The phases in order; one that the run's end cuts off is left out.

    Example:
        >>> [tuple(phase) for phase in phases(25)]
        [(1.0, 1, 5), (0.5, 5, 18), (2.0, 18, 20), (1.0, 20, 25)]
    """
    found: list[Phase] = []
    place = 0
    while place < count:
        for length, ell in PHASES:
            if place + length <= count:
                found.append(Phase(ell, max(place, 1), place + length))
            place += length
    return found


def phase_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether the loss rises at ℓ = 2 and at no other."""
    ends = Ends(runs)
    panels = figures(scale)["fig3"].panels
    lines = [
        "| task | method | ℓ | epochs | loss before | loss after | ratio | as claimed |",
        "|---|---|--:|---|--:|--:|--:|---|",
    ]
    held: list[bool | None] = []
    for panel in panels:
        for method in _METHODS:
            found = ends.line(next(line for line in panel.lines if line.label == method))
            if not found:
                held.append(None if found is None else False)
                continue
            judgements: list[bool] = []
            for phase in phases(found[0].config.epochs):
                before, after = (_loss(found, epoch) for epoch in (phase.start, phase.end))
                if math.isinf(before):
                    break  # it had gone before
                rises = after > before
                judgements.append(rises == (phase.ell > 1.0))
                change = "∞" if math.isinf(after) else f"{after / before:.2f}"
                cells = [panel.title, method, f"{phase.ell:g}", f"{phase.start + 1}–{phase.end}", number(before)]
                cells += ["diverged" if math.isinf(after) else number(after), change]
                lines.append(f"| {' | '.join(cells)} | {'yes' if judgements[-1] else 'no'} |")
            held.append(all(judgements) and bool(judgements))
    return Verdict(
        "Phases at ℓ = 2 raise the training loss, and phases at ℓ ≤ 1 do not",
        "Held if on both tasks, with both directions, the training loss (geometric mean over the seeds) is higher "
        "after every phase at ℓ = 2 than before it, and not higher after every phase at ℓ = 1 or ½. A run that ends "
        "inside a phase has not judged that one; the first phase is counted from the end of the first epoch.",
        judged(held, len(_METHODS) * len(panels)),
        "\n".join(lines),
        ends.remark,
    )


def _loss(found: tuple[RunRecord, ...], epoch: int) -> float:
    """Geometric mean over the seeds of the training loss after an epoch; infinite where a seed has none there."""
    values: list[float] = []
    for run in found:
        own = run.epochs
        loss = own[epoch - 1].train_eval_loss if len(own) >= epoch else None
        if loss is None or not math.isfinite(loss) or loss <= 0.0:
            return math.inf
        values.append(math.log(loss))
    return math.exp(math.fsum(values) / len(values))
