"""Figures 8 and 9: two strengths of the L2 term, and Step-Tuned SGD."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.evidence.claims.ends import Ends, bootstrapped, judged, ratio
from benchmarks.evidence.claims.training import line_of
from benchmarks.paper.plan import ScaleName, figures
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord


def decay_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether the small λ is enough."""
    ends = Ends(runs)
    small, large = figures(scale)["fig8"].panels
    lines = [
        "| method | λ = 1e-7: training loss | λ = 1e-4: training loss | ratio | test loss | test loss |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    held: list[bool | None] = []
    for method in ("red-sgd", "red-rmsprop"):
        pair = [line_of(panel, method) for panel in (small, large)]
        losses, others = (ends.losses(line) for line in pair)
        found = ratio(losses, others)
        held.append(None if found is None else found <= 1.0)
        tests = " | ".join(ends.cell(line, "test_loss") for line in pair)
        lines.append(f"| {method} | {' | '.join(map(ends.cell, pair))} | {bootstrapped(losses, others)} | {tests} |")
    return Verdict(
        "RED converges well with λ = 1e-7: a larger L2 term is not needed",
        "Held if with both directions the mean training loss with λ = 1e-7 is at most that with λ = 1e-4. Both losses "
        "contain their own L2 term.",
        judged(held, 2),
        "\n".join(lines),
        ends.remark,
    )


def step_tuned_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether Step-Tuned SGD is ahead in training loss and not in test loss."""
    ends = Ends(runs)
    panels = figures(scale)["fig9"].panels
    lines = [
        "| task | Step-Tuned SGD: training loss | RED-SGD: training loss | ratio | Step-Tuned SGD: test loss "
        "| RED-SGD: test loss | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    held: list[bool | None] = []
    for panel in panels:
        pair = [line_of(panel, method) for method in ("step-tuned", "red-sgd")]
        train = [ends.losses(line) for line in pair]
        test = [ends.losses(line, "test_loss") for line in pair]
        ahead, behind = ratio(*train), ratio(*test)
        held.append(None if ahead is None or behind is None else ahead < 1.0 and behind >= 1.0)
        cells = [panel.title, *map(ends.cell, pair), bootstrapped(*train)]
        cells += [*(ends.cell(line, "test_loss") for line in pair), bootstrapped(*test)]
        lines.append(f"| {' | '.join(cells)} |")
    return Verdict(
        "Step-Tuned SGD, its rate tuned for it, is ahead of RED-SGD in training loss alone",
        "Held if on each task and with each λ its mean training loss is below that of RED-SGD, and its mean test loss "
        "is not.",
        judged(held, len(panels)),
        "\n".join(lines),
        ends.remark,
    )
