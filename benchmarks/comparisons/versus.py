"""One method against the best learning rate of another, problem by problem, as a table for a document."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from curvestep.bench.record import FINISHED, RunRecord


@final
@dataclass(frozen=True)
class Score:
    """One setting of one method on one problem, at the end of its runs.

    Attributes:
        label: the method with its learning rate.
        train: losses on the fixed part of the training data, one a seed; infinite where a run diverged.
        held_out: losses on the test data, likewise.
        outcomes: how the steps of all seeds ended → how many.
    """

    label: str
    train: tuple[float, ...]
    held_out: tuple[float, ...]
    outcomes: Mapping[str, int]

    @property
    def mean_train(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.train)

    @property
    def mean_held_out(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.held_out)


def scores(runs: Sequence[RunRecord]) -> dict[str, list[Score]]:
    """The settings of each method, best training loss first.

    Args:
        runs: of one problem.

    Returns:
        Method → its settings.
    """
    settings: dict[str, list[RunRecord]] = {}
    for run in runs:
        settings.setdefault(run.config.label, []).append(run)
    found: dict[str, list[Score]] = {}
    for label, group in settings.items():
        ends = [run.epochs[-1] if run.status == FINISHED and run.epochs else None for run in group]
        score = Score(
            label,
            tuple(math.inf if end is None or end.train_eval_loss is None else end.train_eval_loss for end in ends),
            tuple(math.inf if end is None or end.test_loss is None else end.test_loss for end in ends),
            sum((Counter(run.outcomes) for run in group), Counter()),
        )
        found.setdefault(group[0].config.method, []).append(score)
    return {method: sorted(rows, key=lambda row: row.mean_train) for method, rows in found.items()}


def versus_table(problems: Mapping[str, Sequence[RunRecord]], method: str, rival: str, outcome: str) -> str:
    """The table: a line a problem, the rival at the rate that has the lowest training loss.

    Args:
        problems: name → runs of both methods.
        method: what is judged.
        rival: what it is judged against.
        outcome: name of an outcome of the method's steps whose share is shown.

    Returns:
        Markdown: means (min–max) over the seeds, in which losses the method's mean is at or below the rival's, the
        share of steps with the outcome, and the count.
    """
    lines = [
        f"| problem | best {rival} | training loss | test loss | {method}: training loss | test loss | ≤ | {outcome} |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    both = 0
    for name, runs in problems.items():
        found = scores(runs)
        own, best = found[method][0], found[rival][0]
        lower = [own.mean_train <= best.mean_train, own.mean_held_out <= best.mean_held_out]
        both += all(lower)
        said = {(True, True): "both", (True, False): "training", (False, True): "test", (False, False): "neither"}
        cells = [
            name,
            f"{best.label.split('lr ')[-1].split(',')[0]} of {len(found[rival])}",
            _spread(best.train),
            _spread(best.held_out),
            _spread(own.train),
            _spread(own.held_out),
            said[lower[0], lower[1]],
            f"{100.0 * own.outcomes.get(outcome, 0) / max(1, sum(own.outcomes.values())):.0f} %",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "At the end of the run, mean (min–max) over the seeds; losses contain the L2 term. Training loss: on a fixed "
        "part of the training data; test loss: on the test data; both with the weights that the method says to "
        "evaluate (averaged ones where it keeps an average). "
        f"Best {rival}: the rate with the lowest training loss, of so many.",
    ]
    lines += ["", f"At or below the best {rival} in both losses on {both} of {len(problems)}."]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """Mean (min–max)."""
    if not all(math.isfinite(value) for value in values):
        return f"{sum(not math.isfinite(value) for value in values)} of {len(values)} diverged"
    return f"{_number(statistics.fmean(values))} ({_number(min(values))}–{_number(max(values))})"


def _number(value: float) -> str:
    """Three or four digits."""
    return f"{value:.3f}" if value >= 0.1 else f"{value:.2e}" if value < 1e-3 else f"{value:.4f}"
