"""The verdicts on the claims, and their page, from the stores alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.claims import plan
from benchmarks.claims.look import Look
from benchmarks.verdict import Verdict, verdict_page
from curvestep.bench.config import RunConfig
from curvestep.bench.record import FINISHED, RunRecord
from curvestep.report.table import number

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def verdicts(looks: Sequence[Look], runs: Sequence[RunRecord]) -> tuple[Verdict, ...]:
    """All three claims.

    Args:
        looks: line searches beside LQA's steps.
        runs: of any store that has the runs of the other two.

    Returns:
        The verdicts.
    """
    return (line_verdict(looks), interpolation_verdict(runs), recovery_verdict(runs))


def page(found: Sequence[Verdict]) -> str:
    """The document, from the verdicts."""
    head = (
        "# Claims of the sources, run again",
        "",
        f"`python -m benchmarks claims` makes the runs ({plan.SEEDS} seeds; what is in the store is not repeated) and "
        "writes this page from the store in `benchmarks/stores/claims`. Rates, lengths and the rule of each verdict "
        "were fixed before the runs (`benchmarks/claims/plan.py`).",
    )
    return verdict_page(head, found)


# -- LQA --------------------------------------------------------------------------------------------------------------


def line_verdict(looks: Sequence[Look]) -> Verdict:
    """LQA's decrease over the best one along the gradient."""
    lines = [
        "| task | line searches | 5 % | 25 % | median | 75 % | 95 % | loss rose | step over best step, median |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    held: list[bool] = []
    for each in plan.LINE:
        own = [look for look in looks if look.task == each.task and look.first > look.least]
        if len({look.seed for look in own}) < plan.SEEDS:
            continue
        shares = sorted(look.share for look in own)
        cells = [f"{quantile(shares, share):.3f}" for share in _QUANTILES]
        rose = sum(share < 0.0 for share in shares)
        steps = [look.step_size / look.best_step for look in own if look.step_size is not None]
        lines.append(f"| {each.task} | {len(own)} | {' | '.join(cells)} | {rose} | {statistics.median(steps):.2f} |")
        held.append(quantile(shares, 0.5) >= plan.LEAST_SHARE)
    return Verdict(
        "LQA takes nearly the greatest decrease along the gradient at each step",
        "Held if on each task the median of the decrease, over the best one that a line search finds on the same "
        f"batch along the same gradient, is at least {plan.LEAST_SHARE}.",
        all(held) if len(held) == len(plan.LINE) else None,
        "\n".join(lines),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile of sorted values, along the line between the two nearest.

    Args:
        values: sorted, at least one.
        share: in [0, 1].

    Returns:
        The quantile.

    Example:
        >>> quantile([0.0, 1.0, 2.0, 3.0], 0.5), quantile([0.0, 1.0, 2.0, 3.0], 0.25)
        (1.5, 0.75)
    """
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


# -- ALI-G ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """The runs of one method with one rate, one a seed."""

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def loss(self) -> float:
        """Mean loss on the training data after the run; infinite if a seed diverged."""
        return _mean([run.last.train_eval_loss if run.last is not None else None for run in self._finished])

    @property
    def losses(self) -> str:
        """That loss with its range over the seeds."""
        found = [run.last.train_eval_loss for run in self._finished if run.last is not None]
        values = [value for value in found if value is not None]
        if not math.isfinite(self.loss):
            return "diverged"
        return f"{number(self.loss)} ({number(min(values))}–{number(max(values))})"

    @property
    def accuracy(self) -> float:
        """Mean accuracy on the test data."""
        found = _mean([run.last.test_accuracy if run.last is not None else None for run in self._finished])
        return found if math.isfinite(found) else 0.0

    @property
    def _finished(self) -> list[RunRecord]:
        return list(self.runs) if all(run.status == FINISHED for run in self.runs) else []


def interpolation_verdict(runs: Sequence[RunRecord]) -> Verdict:
    """ALI-G beside the best of SGD's grid."""
    lines = [
        "| task | method | loss on the training data, mean (range) | test accuracy |",
        "|---|---|--:|--:|",
    ]
    held: list[bool] = []
    remarks: list[str] = []
    for wish in plan.INTERPOLATION:
        configs = [config for config in plan.interpolation_configs() if config.task == wish.task]
        settings = _settings(configs, runs)
        if settings is None:
            continue
        (alig,) = [setting for setting in settings if setting.label == "alig"]
        grid = sorted((s for s in settings if s is not alig), key=lambda setting: setting.loss)
        for setting in (alig, *grid):
            lines.append(f"| {wish.task} | {setting.label} | {setting.losses} | {setting.accuracy:.4f} |")
        held.append(alig.loss <= grid[0].loss)
        best = grid[0].runs[0].config
        edge = ", the largest that was tried" if best.lr == max(plan.SGD_RATES) else ""
        remarks.append(
            f"{wish.task}: ALI-G ends at {alig.loss / grid[0].loss:.2f} times the loss of the best of the grid "
            f"({best.label}{edge}), with {100 * (alig.accuracy - grid[0].accuracy):+.2f} percentage points of accuracy."
        )
    return Verdict(
        "ALI-G, one cap and no schedule, is level with tuned SGD under interpolation",
        f"Held if on each task the mean loss on the training data at the end is at most that of the best of SGD's grid "
        f"({len(plan.SGD_RATES)} rates, constant and decaying); no L2 term, the cap at its default of 1.",
        all(held) if len(held) == len(plan.INTERPOLATION) else None,
        "\n".join(lines),
        " ".join(remarks),
    )


# -- exponentiated gradient -------------------------------------------------------------------------------------------


def recovery_verdict(runs: Sequence[RunRecord]) -> Verdict:
    """Steps to recovery after each turn, adapted and fixed, from the same first rate."""
    configs = plan.recovery_configs()
    settings = _settings(configs, runs)
    lines = [
        "| first rate | fixed: steps to recovery | never | adapted: steps to recovery | never |",
        "|--:|--:|--:|--:|--:|",
    ]
    fixed_means: list[float] = []
    adapted_means: list[float] = []
    if settings is not None:
        by_label = {setting.label: setting for setting in settings}
        for rate in plan.RECOVERY_RATES:
            fixed = _recoveries(by_label[f"sgd, lr {rate:g}"].runs)
            adapted = _recoveries(by_label[f"eg-sgd, lr {rate:g}"].runs)
            lines.append(f"| {rate:g} | {_recovery_text(fixed)} | {_recovery_text(adapted)} |")
            fixed_means.append(statistics.fmean(fixed[0]))
            adapted_means.append(statistics.fmean(adapted[0]))
    held = [adapted < fixed for adapted, fixed in zip(adapted_means, fixed_means, strict=True)]
    remark = ""
    if held:
        best = min(fixed_means)
        beaten = sum(mean < best for mean in adapted_means)
        remark = (
            f"Smaller from {sum(held)} of {len(held)} rates; smaller than with the best fixed rate of the grid "
            f"({best:.1f} steps) from {beaten}. Where the loss was not back before the next turn, the turn's whole "
            "length counts. A scale that only grows shortens the recovery from too small a rate as well, so that what "
            "speaks for adaptation is the gain over the best fixed rate."
        )
    return Verdict(
        "Step sizes of the exponentiated gradient recover quickly after a shift of the data",
        "Held if from each first rate the mean number of steps to recovery is smaller with the adapted steps than with "
        "the fixed one, over all turns of `mnist-stream` after the first epoch.",
        all(held) if held else None,
        "\n".join(lines),
        remark,
    )


def _recoveries(runs: Sequence[RunRecord]) -> tuple[list[float], int]:
    """Steps to recovery of each turn, and how often there was none before the next turn."""
    found: list[float] = []
    never = 0
    for run in runs:
        length = run.epochs[0].step if run.epochs else 0
        turns = plan.turns(run.config)
        # A run that diverged has recovered from none of the turns that it did not live to see.
        steps = [epoch.recovery_steps for epoch in run.epochs[1:]] + [None] * (turns - max(len(run.epochs) - 1, 0))
        never += sum(step is None for step in steps)
        found += [float(length if step is None else step) for step in steps]
    return found, never


def _recovery_text(found: tuple[list[float], int]) -> str:
    """Mean and share of turns without recovery."""
    steps, never = found
    return f"{statistics.fmean(steps):.1f} | {never} of {len(steps)}"


# -- runs -------------------------------------------------------------------------------------------------------------


def _settings(configs: Sequence[RunConfig], runs: Sequence[RunRecord]) -> list[_Setting] | None:
    """The runs of these settings in groups that differ in the seed alone; None if one is missing."""
    by_key = {run.config.key: run for run in runs}
    if any(config.key not in by_key for config in configs):
        return None
    groups: dict[str, list[RunRecord]] = {}
    for config in configs:
        groups.setdefault(config.label, []).append(by_key[config.key])
    return [_Setting(label, tuple(group)) for label, group in groups.items()]


def _mean(values: Sequence[float | None]) -> float:
    """The mean; infinite where there is none."""
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if numbers and len(numbers) == len(values) else math.inf
