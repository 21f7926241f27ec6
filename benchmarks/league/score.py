"""Scores of the league, from trials alone.

Definitions, for a problem p, methods m, seeds s:

- best(p): the AdamW rate of the five with the lowest mean final held-out loss over the seeds.
- ratio(m, p) = mean_s final(m, p, s) / mean_s final(best(p), p, s). A divergence is infinite. The geometric mean over
  problems takes ratios held to [1/10, 10]; the worst ratio is not held.
- stopped(m): the geometric mean over problems of mean_s least(m, p, s) over the lowest such mean of an AdamW rate,
  where least is the lowest loss of all looks: every run is stopped where its held-out loss is lowest.
- target(p): the mean over seeds of the held-out loss of best(p) at three quarters of its run.
- time(m, p): the median over seeds of the first look (twentieths of the run) at which the held-out loss is at or below
  the target, in steps or in CPU seconds; infinite if there is none within the run.
- profile of m: ρ(t) = the share of problems with time(m, p) ≤ t · min_m' time(m', p), the minimum over all methods that
  are scored, AdamW's five rates among them. score(m) = ∫₁⁴ ρ(t) dt / 3, between 0 and 1, as in AlgoPerf.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.league.methods import ADAMW
from benchmarks.league.trial import Trial

#: Problem, method, seed, factor of the number of steps.
Key = tuple[str, str, int, float]

_HELD = 10.0
_UPTO = 4.0


@dataclass(frozen=True)
class Scores:
    """Scores of all methods over some problems.

    Args:
        best: the best AdamW of each problem.
        ratios: by method and problem.
        geometric: the geometric mean of the ratios, each held to [1/10, 10], by method.
        worst: the largest ratio, by method.
        stopped: the geometric mean and the worst ratio where every run is stopped at its lowest look, by method.
        profile_steps: the score by steps, by method.
        profile_seconds: the score by CPU seconds, by method.
    """

    best: dict[str, str]
    ratios: dict[str, dict[str, float]]
    geometric: dict[str, float]
    worst: dict[str, float]
    stopped: dict[str, tuple[float, float]]
    profile_steps: dict[str, float]
    profile_seconds: dict[str, float]


def _final(trials: Sequence[Trial]) -> float:
    return statistics.fmean(trial.final for trial in trials)


def _least(trials: Sequence[Trial]) -> float:
    return statistics.fmean(min(row[2] for row in trial.curve) for trial in trials)


def _mean(ratios: Sequence[float]) -> float:
    """The geometric mean of ratios that are held to [1/10, 10]."""
    return statistics.geometric_mean([min(max(ratio, 1.0 / _HELD), _HELD) for ratio in ratios])


def _reached(trial: Trial, target: float, column: int) -> float:
    """Return the step (column 0) or second (1) of the first look at or below the target."""
    return next((float(row[column]) for row in trial.curve if row[2] <= target), math.inf)


def _profile(times: dict[str, dict[str, float]], problems: Sequence[str]) -> dict[str, float]:
    """Return ∫₁⁴ ρ / 3 for each method: a problem adds what is left of [1, 4] from its ratio on."""
    least = {p: min(row[p] for row in times.values()) for p in problems}
    total = dict.fromkeys(times, 0.0)
    for method, row in times.items():
        for p in problems:
            if math.isfinite(row[p]):
                total[method] += max(0.0, _UPTO - row[p] / least[p]) / (_UPTO - 1.0)
    return {method: value / len(problems) for method, value in total.items()}


def score(
    trials: dict[Key, Trial], problems: Sequence[str], methods: Sequence[str], seeds: Sequence[int], scale: float = 1.0
) -> Scores:
    """Score methods on problems; every trial must be there.

    Args:
        trials: from the store.
        problems: their names.
        methods: their names; AdamW's five rates are added for the reference.
        seeds: over which means and medians are taken.
        scale: of the trials.

    Returns:
        The scores.

    Raises:
        KeyError: a trial is missing.
    """
    names = list(dict.fromkeys((*methods, *ADAMW)))
    found = {m: {p: [trials[p, m, s, scale] for s in seeds] for p in problems} for m in names}
    best = {p: min(ADAMW, key=lambda m: _final(found[m][p])) for p in problems}
    ratios = {m: {p: _final(found[m][p]) / _final(found[best[p]][p]) for p in problems} for m in names}
    targets = {}
    for p in problems:
        reference = found[best[p]][p]
        place = math.ceil(0.75 * len(reference[0].curve)) - 1
        targets[p] = statistics.fmean(trial.curve[place][2] for trial in reference)
    profiles = []
    for column in (0, 1):
        times = {
            m: {p: statistics.median(_reached(t, targets[p], column) for t in found[m][p]) for p in problems}
            for m in names
        }
        profiles.append(_profile(times, problems))
    least = {p: min(_least(found[m][p]) for m in ADAMW) for p in problems}
    stopped = {m: [_least(found[m][p]) / least[p] for p in problems] for m in names}
    return Scores(
        best,
        ratios,
        {m: _mean(list(row.values())) for m, row in ratios.items()},
        {m: max(row.values()) for m, row in ratios.items()},
        {m: (_mean(row), max(row)) for m, row in stopped.items()},
        *profiles,
    )


def calibrated(scores: Scores) -> str:
    """Return the one AdamW rate with the best geometric mean over the problems."""
    return min(ADAMW, key=lambda m: scores.geometric[m])
