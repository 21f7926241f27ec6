"""The ends of the runs of a line of a figure, and how they are written in a table."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from benchmarks.paper.plan import SEEDS, Line
from benchmarks.paper.store import chosen, line_runs
from curvestep.bench.config import DEFAULT_WEIGHT_DECAY
from curvestep.bench.record import FINISHED, RunRecord
from curvestep.report.table import number

Column = Literal["train_eval_loss", "test_loss", "test_accuracy"]


@final
@dataclass
class Ends:
    """Reads lines off a store and keeps which of them lack runs.

    Attributes:
        runs: of the store, by key.
        missing: what was asked for and is not whole, in the order of asking.
    """

    runs: Mapping[str, RunRecord]
    missing: list[str] = field(default_factory=list)

    def line(self, line: Line) -> tuple[RunRecord, ...] | None:
        """The runs of a line.

        Args:
            line: of the plan.

        Returns:
            One a seed; none where every pair of its grid diverged; None while some are missing, which is noted.
        """
        found = line_runs(line, self.runs)
        if len(found) == SEEDS:
            return found
        if line.tuned and all(config.key in self.runs for config in line.tuning()):
            if chosen(line, self.runs) is None:
                return ()
        decay = "" if line.wish.weight_decay == DEFAULT_WEIGHT_DECAY else f", λ = {line.wish.weight_decay:g}"
        name = f"{line.label} on {line.wish.task}{decay} ({len(found)} of {SEEDS} seeds)"
        if name not in self.missing:
            self.missing.append(name)
        return None

    def losses(self, line: Line, column: Column = "train_eval_loss") -> tuple[float, ...] | None:
        """A number at the end of each run, infinite where it diverged; None while runs are missing."""
        found = self.line(line)
        return None if found is None else tuple(map(lambda run: end(run, column), found)) or (math.inf,)

    def cell(self, line: Line, column: Column = "train_eval_loss") -> str:
        """The same for a table, also of the seeds that there are while others are missing."""
        values = self.losses(line, column)
        some = line_runs(line, self.runs)
        if values is None and some:
            return f"{spread([end(run, column) for run in some])}, {len(some)} of {SEEDS} seeds"
        return spread(values)

    @property
    def remark(self) -> str:
        """Which lines are not whole."""
        if not self.missing:
            return ""
        shown = "; ".join(self.missing[:6]) + (f"; and {len(self.missing) - 6} more" if len(self.missing) > 6 else "")
        return f"Not enough runs: {shown}."


def end(run: RunRecord, column: Column) -> float:
    """A number after the last epoch; infinite where the run diverged or has none."""
    value = getattr(run.last, column) if run.status == FINISHED and run.last is not None else None
    return math.inf if value is None or not math.isfinite(value) else value


def mean(values: Sequence[float]) -> float:
    """The mean; infinite where one is."""
    return statistics.fmean(values)


def spread(values: Sequence[float] | None) -> str:
    """Mean (min–max), how many diverged, or a dash where runs are missing.

    Returns:
        The cell of a table.

    Example:
        >>> spread((1.0, 2.0, 3.0)), spread((1.0, math.inf)), spread(None)
        ('2.000 (1.000–3.000)', '1 of 2 diverged', '–')
    """
    if values is None:
        return "–"
    away = sum(not math.isfinite(value) for value in values)
    if away:
        return f"{away} of {len(values)} diverged"
    if len(values) == 1:
        return number(values[0])
    return f"{number(mean(values))} ({number(min(values))}–{number(max(values))})"


def ratio(values: Sequence[float] | None, base: Sequence[float] | None) -> float | None:
    """Mean over mean; infinite over a divergence of the first alone, 0 over one of the second; None while missing."""
    if values is None or base is None:
        return None
    own, other = mean(values), mean(base)
    if math.isinf(own):
        return math.inf
    return 0.0 if math.isinf(other) else own / other if other else math.inf


def bootstrapped(values: Sequence[float] | None, base: Sequence[float] | None) -> str:
    """The ratio of the means with its 95 % interval over all resamples of the seeds.

    Example:
        Of three seeds there are 27 resamples; the same seed is drawn for both methods.

        >>> bootstrapped((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)), bootstrapped((1.0, math.inf), (1.0, 1.0))
        ('2.00 [1.00, 3.00]', '∞')

    Returns:
        The cell of a table: the interval only where both have all seeds and none diverged.
    """
    found = ratio(values, base)
    if values is None or base is None or len(values) != len(base) or found is None:
        return shown(found)
    if not all(math.isfinite(value) for value in (*values, *base)):
        return shown(found)
    seeds = range(len(values))
    ratios = sorted(
        math.fsum(values[seed] for seed in drawn) / math.fsum(base[seed] for seed in drawn)
        for drawn in itertools.product(seeds, repeat=len(values))
    )
    last = len(ratios) - 1
    low, high = ratios[math.floor(0.025 * last)], ratios[math.ceil(0.975 * last)]
    return f"{found:.2f} [{low:.2f}, {high:.2f}]"


def shown(value: float | None) -> str:
    """A ratio in two decimals.

    Returns:
        The cell of a table.

    Example:
        >>> shown(1.234), shown(math.inf), shown(None)
        ('1.23', '∞', '–')
    """
    return "–" if value is None else "∞" if math.isinf(value) else f"{value:.2f}"


def judged(held: Sequence[bool | None], count: int) -> bool | None:
    """Held where all of so many are; not held where one is not, whatever is missing; else None.

    Returns:
        The verdict on the whole.

    Example:
        >>> judged([True, True], 2), judged([True, None], 2), judged([False, None], 2), judged([True], 2)
        (True, None, False, None)
    """
    if any(each is False for each in held):
        return False
    return True if len(held) == count and all(held) else None
