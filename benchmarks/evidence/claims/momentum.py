"""Figure 6: momentum of 0.9 with ℓ from 1 and from 1 − β₁."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from benchmarks.evidence.claims.ends import Ends, bootstrapped, judged, ratio
from benchmarks.evidence.claims.training import line_of
from benchmarks.paper.plan import ScaleName, figures
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord

#: RED struggles where its mean training loss is more than so many times the tuned one's.
BEHIND = 1.1
#: Directions "always" descend where they do on at least this share of the steps.
ALWAYS = 0.99
#: RED from ℓ = 1, from ℓ = 1 − β₁, and the tuned method along the same direction.
_TRIPLES = (
    ("red-sgd-heavy", "red-sgd-momentum", "sgd-momentum"),
    ("red-adam-heavy", "red-adam-tenth", "adam-momentum"),
)


def struggle_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether RED with momentum is behind the tuned methods from ℓ = 1."""
    ends = Ends(runs)
    first, second = figures(scale)["fig6"].panels
    lines = ["| method | ℓ from | training loss | over the tuned one | test loss |", "|---|--:|--:|--:|--:|"]
    held: list[bool | None] = []
    for one, tenth, rival in _TRIPLES:
        tuned = ends.losses(line_of(first, rival))
        for panel, name, ell in ((first, one, "1"), (second, tenth, "0.1"), (first, rival, "–")):
            line = line_of(panel, name)
            losses = ends.losses(line)
            found = ratio(losses, tuned)
            if name == one:
                held.append(None if found is None else found > BEHIND)
            cells = [name, ell, ends.cell(line), bootstrapped(losses, tuned), ends.cell(line, "test_loss")]
            lines.append(f"| {' | '.join(cells)} |")
    return Verdict(
        "With momentum RED struggles from ℓ = 1",
        f"Held if with both directions the mean training loss of RED from ℓ = 1 is more than {BEHIND:g} times that of "
        "the tuned method along the same direction.",
        judged(held, len(_TRIPLES)),
        "\n".join(lines),
        ends.remark,
    )


def descent_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether directions descend from ℓ = 1 − β₁ and less from ℓ = 1."""
    ends = Ends(runs)
    first, second = figures(scale)["fig6"].panels
    lines = ["| method | ℓ from | steps that descend, all epochs | least epoch |", "|---|--:|--:|--:|"]
    held: list[bool | None] = []
    for one, tenth, rival in _TRIPLES:
        shares: dict[str, list[float] | None] = {}
        for panel, name, ell in ((first, one, "1"), (second, tenth, "0.1"), (first, rival, "–")):
            found = ends.line(line_of(panel, name))
            shares[name] = share = None if found is None else descent(found)
            text = "– | –" if not share else f"{100 * statistics.fmean(share):.1f} % | {100 * min(share):.1f} %"
            lines.append(f"| {name} | {ell} | {text} |")
        at_one, at_tenth = shares[one], shares[tenth]
        if at_one is None or at_tenth is None:
            held.append(None)
        else:
            low, high = (statistics.fmean(each) if each else math.nan for each in (at_one, at_tenth))
            held.append(high >= ALWAYS and low < high)
    return Verdict(
        "With momentum, ℓ = 1 − β₁ keeps directions descending, and ℓ = 1 does not",
        f"Held if with both directions at least {100 * ALWAYS:g} % of all steps of RED from ℓ = 0.1 descend on their "
        "batch (⟨g, d⟩ ≥ 0; mean over epochs and seeds), and fewer do from ℓ = 1.",
        judged(held, len(_TRIPLES)),
        "\n".join(lines),
        ends.remark,
    )


def descent(found: tuple[RunRecord, ...]) -> list[float]:
    """The share of descending steps of every epoch of every run that has one."""
    shares = [epoch.descent_share for run in found for epoch in run.epochs]
    return [share for share in shares if share is not None]
