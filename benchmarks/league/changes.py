"""What a change does to Auto: of its numbers, of its first scale, of the loss, the batch and a layer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.league.methods import NUMBERS, TRIAL, number, trial_number
from benchmarks.league.problems import STEADY
from benchmarks.league.problems.changed import CHANGES
from benchmarks.league.score import Key
from benchmarks.league.split import HALVES, half
from benchmarks.league.trial import Trial

#: On which the numbers of the rule are changed, with one seed: short runs of many kinds, the wild ones left out.
SHORT = (
    *("clicks", "clusters", "finetune-lowrank", "imbalance", "label-noise", "logistic", "ratings"),
    *("rescaled-layers", "triplets", "vae"),
)
_SEEDS = (0, 1, 2)
_STARTS = {"auto-start/1000": "a thousand times shorter", "auto-start×1000": "a thousand times longer"}
#: How far a loss may be above that of the start that the rule wants, and how many of the others are named.
_NEAR, _WORST = 1.03, 6
#: Beside Auto where the problem is changed.
_BESIDE = ("auto", "adamw-0.01")
Trials = Mapping[Key, Trial]


def sections(trials: Trials) -> list[str]:
    """The sections of the page of which there are runs."""
    return [text for text in (_numbers(trials), _starts(trials), _trial_numbers(trials), _problems(trials)) if text]


def _ratio(trials: Trials, new: tuple[str, str], old: tuple[str, str], seeds: Sequence[int]) -> float | None:
    """The mean loss of a problem and method over that of another; None where a run is missing."""
    sums = []
    for problem, method in (new, old):
        keys = [(problem, method, seed, 1.0) for seed in seeds]
        if any(key not in trials for key in keys):
            return None
        sums.append(sum(trials[key].final for key in keys))
    return sums[0] / sums[1]


def _section(head: str, rows: Sequence[str]) -> str:
    """A heading with its table; nothing without a row."""
    return head + "\n".join(rows) + "\n" if rows else ""


def _mean(ratios: Sequence[float]) -> str:
    """The geometric mean and the worst."""
    return f"{statistics.geometric_mean([min(max(r, 0.1), 10.0) for r in ratios]):.3f} ({max(ratios):.2f})"


def _halved(trials: Trials, base: str, names: Sequence[str], value: Callable[[str, float], float]) -> list[str]:
    """A row for each number of a method, at half and at twice its value; none where a run is missing."""
    lines: list[str] = []
    for name in names:
        cells = [f"{value(name, 1.0):.3g}"]
        for word in ("half", "twice"):
            found = [_ratio(trials, (p, f"{base}-{word}-{name}"), (p, base), (0,)) for p in SHORT]
            ratios = [r for r in found if r is not None]
            if len(ratios) < len(SHORT):
                return []
            cells.append(_mean(ratios))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _trial_numbers(trials: Trials) -> str:
    """The numbers of the trial, where it acts."""
    head = (
        "### The numbers of the trial at half and at twice their values\n\n"
        "They act where a run begins too long: final held-out loss over that of `auto-start×1000` with the usual ones, "
        "geometric mean and worst; one seed, on the same ten problems. Twice `beyond` is more than the guard lets a "
        "first scale be, so that there is no trial. What they are stands in "
        "`curvestep.steprules.Trial`.\n\n"
        "| number | value | half | twice |\n| --- | ---: | ---: | ---: |\n"
    )
    return _section(head, _halved(trials, "auto-start×1000", TRIAL, trial_number))


def _numbers(trials: Trials) -> str:
    """The numbers of the rule at half and at twice their values."""
    lines = _halved(trials, "auto", NUMBERS, number)
    head = (
        "## The rule's numbers at half and at twice their values\n\n"
        "Final held-out loss over that of `auto`, geometric mean and worst; one seed, on\n"
        f"{', '.join(SHORT)}.\n"
        "`most` is taken to the power ½ and 2, `keep` to the power 2 and ½. What the numbers are stands in\n"
        "`curvestep.steprules.NoiseBalance`.\n\n"
        "| number | value | half | twice |\n| --- | ---: | ---: | ---: |\n"
    )
    return _section(head, lines)


def _starts(trials: Trials) -> str:
    """Auto begun at another scale."""
    rows: list[str] = []
    for p in SHORT:
        cells = [_ratio(trials, (p, method), (p, "auto"), _SEEDS) for method in _STARTS]
        if all(cell is not None for cell in cells):
            rows.append(f"| {p} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    head = (
        "## Begun at another scale\n\n"
        "Final held-out loss over that of `auto`, where the rule wants a first scale that is a thousand times off. The "
        "parabola of the first batch lets it be ten times too long or thirty times too short at most; above six times "
        "the first steps are on trial, and may be taken back ([long.md](long.md#a-first-scale-on-trial)). Three "
        "seeds:\n\n"
        f"| problem | {' | '.join(_STARTS.values())} |\n| --- | ---: | ---: |\n"
    )
    return _section(head, rows) + (_everywhere(trials) if rows else "")


def _everywhere(trials: Trials) -> str:
    """What another first scale does on all problems of all halves, with one seed."""
    lines: list[str] = []
    problems = [p for each in HALVES for p in half(each.name)]
    for method, what in _STARTS.items():
        found = [(_ratio(trials, (p, method), (p, "auto"), (0,)), p) for p in problems]
        ratios = sorted(((r, p) for r, p in found if r is not None), reverse=True)
        if len(ratios) < len(problems):
            return ""
        back = sum(trials[p, method, 0, 1.0].report.get("TAKEN_BACK", 0.0) > 0.0 for p in problems)
        values = [r for r, _ in ratios]
        worst = ", ".join(f"{p} {r:.3g}" for r, p in ratios[:_WORST])
        lines.append(
            f"| {what} | {statistics.median(values):.3f} | {statistics.geometric_mean(values):.3f} | "
            f"{sum(r <= _NEAR for r in values)} | {back} | {worst} |"
        )
    head = (
        f"\nOn all {len(problems)} problems, one seed; at most {_NEAR:g} is within 3 % or better:\n\n"
        f"| | median | geometric mean | at most {_NEAR:g} | taken back | the {_WORST} worst |\n"
        "| --- | ---: | ---: | ---: | ---: | --- |\n"
    )
    return _section(head, lines)


def _problems(trials: Trials) -> str:
    """Auto and AdamW where the problem is changed."""
    rows: list[str] = []
    for change, (what, _) in CHANGES.items():
        for method in _BESIDE:
            cells = [_ratio(trials, (f"{p}:{change}", method), (p, method), _SEEDS) for p in STEADY]
            if all(cell is not None for cell in cells):
                rows.append(f"| {what} | {method} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    head = (
        "## The loss, the batch or a layer changed\n\n"
        "Final held-out loss over that of the same method on the unchanged\n"
        "problem, three seeds. The batch is doubled at the same number of steps.\n\n"
        f"| change | method | {' | '.join(STEADY)} |\n| --- | --- |{' ---: |' * len(STEADY)}\n"
    )
    return _section(head, rows)
