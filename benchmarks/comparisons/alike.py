"""Whether runs of two methods can be told apart, seed against seed: a table for a document."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from curvestep.bench.record import FINISHED, RunRecord

#: Above it a mean of the seeds' differences is told from zero with 95 % confidence: Student's t by degrees of freedom.
_CRITICAL = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def alike_table(problems: Mapping[str, Sequence[RunRecord]], methods: Sequence[str], reference: str) -> str:
    """The table: a line a problem and method, each seed's run against the reference's run of that seed.

    A whole curve is judged by the mean over its epochs of the logarithm of the training loss, its end by the training
    and the test loss after the last epoch. The differences of the seeds are tested against zero (paired t-test, 95 %).

    Args:
        problems: name → runs of all methods.
        methods: what is judged, in the order of the lines.
        reference: what it is judged against.

    Returns:
        Markdown: mean ratio of each quantity to the reference's, with the seeds' spread, and the verdict; below it the
        number of comparisons that are told apart.
    """
    lines = [
        f"| problem | method | seeds | whole curve ÷ {reference} | training loss, end | test loss, end |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    apart = total = 0
    for problem, runs in problems.items():
        held = {(run.config.method, run.config.seed): run for run in runs if run.status == FINISHED}
        for method in methods:
            seeds = sorted(s for m, s in held if m == method and (reference, s) in held)
            if len(seeds) < 2:
                continue
            pairs = [(held[method, s], held[reference, s]) for s in seeds]
            cells = []
            for measure in (_curve, _end, _test):
                text, told = _compared([measure(own) - measure(other) for own, other in pairs])
                cells.append(text)
                apart += told
                total += 1
            lines.append(f"| {problem} | {method} | {len(seeds)} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "*whole curve*: the batch losses of each epoch, each before its step. *end*: a fixed part of the training data "
        "and the test data, with the averaged weights.",
    ]
    lines += ["", f"Told apart with 95 % confidence (bold): {apart} of {total} comparisons."]
    return "\n".join(lines)


def _compared(differences: Sequence[float]) -> tuple[str, bool]:
    """The mean ratio with its smallest and largest, bold where it is told from 1; and whether it is."""
    mean, count = statistics.fmean(differences), len(differences)
    deviation = statistics.stdev(differences)
    told = abs(mean) > _CRITICAL.get(count - 1, 2.26) * deviation / math.sqrt(count)
    text = f"{math.exp(mean):.3f} ({math.exp(min(differences)):.3f}–{math.exp(max(differences)):.3f})"
    return (f"**{text}**" if told else text), told


def _curve(run: RunRecord) -> float:
    """Mean over the epochs of the logarithm of the training loss."""
    return statistics.fmean(_log(epoch.train_loss) for epoch in run.epochs if epoch.train_loss is not None)


def _end(run: RunRecord) -> float:
    """Logarithm of the loss on the fixed part of the training data after the last epoch."""
    return _log(run.epochs[-1].train_eval_loss)


def _test(run: RunRecord) -> float:
    """Logarithm of the test loss after the last epoch."""
    return _log(run.epochs[-1].test_loss)


def _log(value: float | None) -> float:
    return math.nan if value is None else math.log(value)
