"""Figure 5: β₃, the average of the curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.evidence.claims.ends import Ends, mean
from benchmarks.paper.plan import ScaleName, figures
from benchmarks.verdict import Verdict
from curvestep.bench.record import FINISHED, RunRecord

#: Losses count as equivalent where the largest mean is at most so many times the smallest.
EQUIVALENT = 1.25
#: An epoch rises where its training loss is more than so many times that of the epoch before.
RISE = 1.1
#: β₃ = 0 is unstable with at least so many rises, and so many times those of the other that has most.
FEWEST, TIMES = 3, 2.0
_ZERO = "β₃ = 0"
_OTHERS = ("β₃ = 0.5", "β₃ = 0.9", "β₃ = 0.99")


def average_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether β₃ matters little from 0.5 on, and 0 is unstable."""
    ends = Ends(runs)
    (panel,) = figures(scale)["fig5"].panels
    lines = ["| β₃ | training loss | test loss | epochs that rise | diverged |", "|---|--:|--:|--:|--:|"]
    losses: dict[str, float] = {}
    rises: dict[str, int] = {}
    away: dict[str, int] = {}
    for label in (_ZERO, *_OTHERS):
        line = next(line for line in panel.lines if line.label == label)
        found = ends.line(line)
        if found is None:
            cells = f"{ends.cell(line)} | {ends.cell(line, 'test_loss')}"
            lines.append(f"| {label.removeprefix('β₃ = ')} | {cells} | – | – |")
            continue
        own = ends.losses(line) or (math.inf,)
        losses[label] = mean(own)
        rises[label] = sum(map(risen, found))
        away[label] = sum(run.status != FINISHED for run in found)
        lines.append(
            f"| {label.removeprefix('β₃ = ')} | {ends.cell(line)} | {ends.cell(line, 'test_loss')} | "
            f"{rises[label]} of {sum(max(len(run.epochs) - 1, 0) for run in found)} | {away[label]} of {len(found)} |"
        )
    held: bool | None = None
    remark = ends.remark
    if not ends.missing:
        others = [losses[label] for label in _OTHERS]
        equal = math.isfinite(max(others)) and max(others) <= EQUIVALENT * min(others)
        most = max(rises[label] for label in _OTHERS)
        unstable = away[_ZERO] > 0 or (rises[_ZERO] >= FEWEST and rises[_ZERO] >= TIMES * most)
        held = equal and unstable
        apart = max(others) / min(others) if math.isfinite(max(others)) else math.inf
        remark = (
            f"From 0.5 on {'' if equal else 'not '}equivalent (largest over smallest mean {apart:.2f}); "
            f"0 is {'' if unstable else 'not '}unstable ({rises[_ZERO]} rises, at most {most} of the others)."
        )
    return Verdict(
        "β₃ in [0.5, 0.99] matters little, and β₃ = 0 is unstable",
        f"Held if the largest mean training loss of β₃ = 0.5, 0.9 and 0.99 is at most {EQUIVALENT:g} times the "
        f"smallest, and with β₃ = 0 a seed diverges, or at least {FEWEST} epochs of all seeds rise, and at least "
        f"{TIMES:g} times as many as with any other. An epoch rises where its training loss is more than {RISE:g} "
        "times that of the epoch before.",
        held,
        "\n".join(lines),
        remark,
    )


def risen(run: RunRecord) -> int:
    """How many epochs of a run rise."""
    losses = [epoch.train_eval_loss for epoch in run.epochs]
    pairs = zip(losses, losses[1:], strict=False)
    return sum(a is not None and (b is None or not math.isfinite(b) or b > RISE * a) for a, b in pairs)
