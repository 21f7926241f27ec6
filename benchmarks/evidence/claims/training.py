"""Figure 2: RED beside tuned SGD and RMSprop, and the step in the first epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.evidence.claims.ends import Ends, bootstrapped, judged, ratio
from benchmarks.paper.plan import Line, Panel
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord

#: RED matches where its mean training loss is at most so many times the tuned one's.
MATCH = 1.1
#: "The first epochs" end with this share of them: 50 of 200 in the source's MNIST.
FIRST = 0.25
_PAIRS = (("red-sgd", "sgd"), ("red-rmsprop", "rmsprop"))
_NUMBERS = {2: "two", 3: "three", 4: "four"}


def line_of(panel: Panel, label: str) -> Line:
    """The line of this label."""
    return next(line for line in panel.lines if line.label == label)


def training_verdict(panels: Sequence[Panel], runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether RED is level with the tuned methods in training loss."""
    ends = Ends(runs)
    lines = [
        "| task | method | training loss | tuned | its training loss | ratio | test loss | tuned: test loss |",
        "|---|---|--:|---|--:|--:|--:|--:|",
    ]
    held: list[bool | None] = []
    for panel in panels:
        for own, rival in _PAIRS:
            first, second = line_of(panel, own), line_of(panel, rival)
            losses, others = ends.losses(first), ends.losses(second)
            found = ratio(losses, others)
            held.append(None if found is None else found <= MATCH)
            tuned = ends.line(second)
            label = tuned[0].config.label if tuned else rival
            cells = [panel.title, own, ends.cell(first), label, ends.cell(second), bootstrapped(losses, others)]
            cells += [ends.cell(line, "test_loss") for line in (first, second)]
            lines.append(f"| {' | '.join(cells)} |")
    return Verdict(
        "RED, with nothing to tune, matches tuned SGD and RMSprop in training loss",
        f"Held if {_where(panels)} the mean training loss at the end of RED-SGD is at most {MATCH:g} times "
        f"that of tuned SGD, and that of RED-RMSprop at most {MATCH:g} times that of tuned RMSprop.",
        judged(held, 2 * len(panels)),
        "\n".join(lines),
        _level(held, ends),
    )


def _where(panels: Sequence[Panel]) -> str:
    """The tasks, as a rule says them."""
    return f"on {panels[0].title}" if len(panels) == 1 else f"on each of the {_NUMBERS[len(panels)]} tasks"


def _level(held: list[bool | None], ends: Ends) -> str:
    """How many pairs are level."""
    known = [each for each in held if each is not None]
    level = f"Level in {sum(known)} of {len(known)} pairs." if known else ""
    return " ".join(part for part in (level, ends.remark) if part)


def growing_step_verdict(panels: Sequence[Panel], runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether the step is longer after a quarter of the epochs than in the first."""
    ends = Ends(runs)
    lines = [
        "| task | method | step, first epoch | after a quarter | ratio | longest at epoch |",
        "|---|---|--:|--:|--:|--:|",
    ]
    held: list[bool | None] = []
    for panel in panels:
        for own, _ in _PAIRS:
            found = ends.line(line_of(panel, own))
            steps = None if found is None else mean_steps(found)
            if not steps or len(steps) < 2:
                held.append(None if found is None else False)
                lines.append(f"| {panel.title} | {own} | – | – | – | – |")
                continue
            place = max(1, math.ceil(FIRST * len(steps)) - 1)
            grown = steps[place] / steps[0]
            held.append(grown > 1.0)
            longest = 1 + steps.index(max(steps))
            lines.append(
                f"| {panel.title} | {own} | {steps[0]:.3g} | {steps[place]:.3g} | {grown:.2f} | "
                f"{longest} of {len(steps)} |"
            )
    return Verdict(
        "The step of RED grows in the first epochs",
        f"Held if {_where(panels)}, with both directions, the mean step of the epoch at which a quarter of the "
        "run is over is longer than that of the first epoch (geometric mean over the seeds), though ℓ falls meanwhile.",
        judged(held, 2 * len(panels)),
        "\n".join(lines),
        ends.remark,
    )


def mean_steps(found: tuple[RunRecord, ...]) -> list[float]:
    """Geometric mean over the seeds of each epoch's mean step, as far as all came with a step above 0."""
    columns = zip(*([epoch.step_size for epoch in run.epochs] for run in found), strict=False)
    means: list[float] = []
    for column in columns:
        values = [value for value in column if value is not None and value > 0.0 and math.isfinite(value)]
        if len(values) < len(found):
            break
        means.append(math.exp(math.fsum(map(math.log, values)) / len(values)))
    return means
