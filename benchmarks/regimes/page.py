"""The verdicts on the regimes that the source leaves open, and their page, from the rows alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.regimes import plan
from benchmarks.regimes.plan import Experiment
from benchmarks.regimes.row import CONVERGED, RegimeRow, case_key
from benchmarks.verdict import Verdict, verdict_page

_CLASSES = 10
_BLOWN = 10.0


def verdicts(rows: Sequence[RegimeRow]) -> tuple[Verdict, ...]:
    """All of them.

    Args:
        rows: of the store.

    Returns:
        The verdicts, in the order of the page.
    """
    return (
        overshoot_verdict(rows),
        relu_verdict(rows),
        collapse_verdict(rows),
        repair_verdict(rows),
        level_verdict(rows),
        slope_verdict(rows),
        model_verdict(rows, "span"),
        model_verdict(rows, "layers"),
    )


def page(found: Sequence[Verdict], figure: str) -> str:
    """The document, from the verdicts and the path of the figure as seen from it."""
    head = (
        "# The regimes that the source leaves open",
        "",
        f"Short runs on one core, {len(plan.SEEDS)} seeds, nothing tuned, what diverged included. `python -m "
        "benchmarks regimes` makes the runs that are missing (CIFAR-10 and Tiny Shakespeare are needed; `--only` "
        "chooses) and writes this page from the rows in `benchmarks/stores/regimes`. Losses are those of a fixed part "
        "of the training data after the run, without an L2 term: mean over the seeds, and their range. A run **ran "
        "away** if a loss was not finite, or the loss was no lower at the end than at the start, or the moving average "
        "of the batch losses (factor 0.9) rose to twice the loss at the start.",
        "",
        f"![the four experiments]({figure})",
    )
    return verdict_page(head, found)


# -- overshoot --------------------------------------------------------------------------------------------------------

_SURFACES = {"root": "√(1 + θ²) from 1000", "rosenbrock": "Rosenbrock from (−1.2, 1)", "quadratic": "quadratic"}
_GUARDS = {0: "none", 1: "every step", 4: "every fourth step"}


def overshoot_verdict(rows: Sequence[RegimeRow]) -> Verdict:
    """Whether the guard holds steps back where the curvature at their start misleads, and nowhere else."""
    own = _rows(rows, "overshoot")
    lines = [
        "| surface | guard | ended | steps | farthest from 0 | shortened | looks, a step | optimizer: same steps |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    held: list[bool] = []
    remarks: list[str] = []
    for row in own or ():
        surface, guard = row.case["surface"], row.case["guard"]
        looks, equal = row.numbers["looks"] or 0.0, row.numbers.get("equal_steps")
        compared = row.numbers.get("compared_steps")
        lines.append(
            f"| {_SURFACES[surface]} | {_GUARDS[guard]} | {row.ended} | {row.steps} | {_g(row.numbers['farthest'])} | "
            f"{row.outcomes.get('GUARDED', 0)} | {looks / row.steps:.2f} | "
            f"{'–' if equal is None or compared is None else f'{equal:.0f} of {compared:.0f}'} |"
        )
        if guard == 1:
            held.append(row.ended == CONVERGED and equal == compared)
        elif row.ended != CONVERGED:
            remarks.append(f"{_SURFACES[surface]} with guard: {_GUARDS[guard]}")
    return Verdict(
        "A look at the end of each step prevents overshoot, and changes nothing where there is none",
        f"Held if gradient descent at ℓ = ½ that is guarded at every step reaches ‖g‖ < {plan.GRADIENT_NORM:g} within "
        f"{plan.SURFACE_STEPS:,} steps on each surface, and on the quadratic (condition 100, float32) the guarded "
        "optimizer goes exactly where the unguarded one does.",
        all(held) if own else None,
        "\n".join(lines),
        (f"Did not converge: {'; '.join(remarks)}. " if remarks else "")
        + "A look is one forward pass; a guarded step takes one where the bound holds, and one more each time it is "
        "shortened.",
    )


# -- ReLU -------------------------------------------------------------------------------------------------------------


def relu_verdict(rows: Sequence[RegimeRow]) -> Verdict:
    """Whether ReLU networks run away more often than their softplus twins."""
    own = _rows(rows, "relu")
    lines = [
        "| network | method | curvature | ReLU: loss | worst | ran away | softplus: loss | worst | ran away |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    forms = {"exact": "exact", "ggn": "Gauss-Newton", "floor": f"exact, floor λ = {plan.LARGE_DECAY:g}"}
    held: list[bool] = []
    away = {"relu": 0, "softplus": 0}
    lower = below_floor = 0
    groups = _groups(own or (), lambda case: (case["net"], case["method"], case["form"]))
    for (net, method, form), group in groups.items():
        halves = {name: [row for row in group if row.case["activation"] == name] for name in ("relu", "softplus")}
        cells = [_cells(half) for half in halves.values()]
        lines.append(f"| {net} | {method} | {forms[form]} | {' | '.join(cells)} |")
        counts = {name: sum(row.ran_away for row in half) for name, half in halves.items()}
        held.append(counts["relu"] <= counts["softplus"])
        away = {name: away[name] + counts[name] for name in away}
        lower += _mean(halves["relu"]) < _mean(halves["softplus"])
        if form == "floor":
            below_floor += sum((row.numbers["least_lipschitz"] or 0.0) <= plan.LARGE_DECAY * 1.001 for row in group)
    half_of_all = len(own or ()) // 2
    blown = [row for row in own or () if row.last is None or row.first is None or row.last > _BLOWN * row.first]
    parts = {name: [row for row in blown if row.case["activation"] == name] for name in away}
    where = sorted({f"{row.case['net']}, {forms[row.case['form']]}" for row in blown})
    places = f" ({'; '.join(where)})" if where else ""
    remark = (
        f"Of {half_of_all} runs each, {away['relu']} ran away with ReLU and {away['softplus']} with softplus; "
        f"{len(parts['relu'])} and {len(parts['softplus'])} of them ended above ten times the first loss or not finite"
        f"{places}, the others rose and came back, or ended about where they began. The loss is the lower one with "
        f"ReLU in {lower} of {len(groups)} lines. The floor was reached in {below_floor} of "
        f"{sum(row.case['form'] == 'floor' for row in own or ())} runs that had it."
    )
    return Verdict(
        "ReLU networks train as stably as their softplus twins",
        "Held if on each line no more runs ran away with ReLU than with softplus (β = 5) in the same places. CIFAR-10, "
        f"{plan.RELU_IMAGES:,} images, {plan.RELU_STEPS} steps of {plan.RELU_BATCH}, networks from {plan.RELU_WIDTH} "
        "channels without normalisation.",
        all(held) if own else None,
        "\n".join(lines),
        remark if own else "",
    )


def _cells(rows: Sequence[RegimeRow]) -> str:
    """Loss, worst moving average and how many ran away."""
    worst = [row.worst if row.worst is not None else math.inf for row in rows]
    return f"{_loss(rows)} | {_g(max(worst))} | {sum(row.ran_away for row in rows)} of {len(rows)}"


# -- small batches ----------------------------------------------------------------------------------------------------

_REMEDIES = {"plain": "none", "memory": "memory of 256", "average": "β₃ = 0.99", "both": "both"}


def collapse_verdict(rows: Sequence[RegimeRow]) -> Verdict:
    """Whether training collapses where a batch is smaller than the number of classes."""
    own = _rows(rows, "batches")
    sizes = " | ".join(f"batch {size}" for size in plan.SIZES)
    lines = [f"| method | remedy | {sizes} |", f"|---|---|{'--:|' * len(plan.SIZES)}"]
    for (method, remedy), group in _groups(own or (), lambda case: (case["method"], case["remedy"])).items():
        cells = [_loss([row for row in group if row.case["size"] == size]) for size in plan.SIZES]
        lines.append(f"| {method} | {_REMEDIES[remedy]} | {' | '.join(cells)} |")
    found = {
        method: _batch_loss(own, method, "plain", 4) > _batch_loss(own, method, "plain", 32) for method in _METHODS
    }
    return Verdict(
        "Training collapses where a batch is smaller than the number of classes",
        "Held if with both rescaled methods, without a remedy, the loss is higher with batches of 4 than with batches "
        f"of 32. Digits, {_CLASSES} classes, {plan.SAMPLES_SEEN:,} samples seen in every run, so that batches of 4 "
        "have eight times as many steps.",
        all(found.values()) if own else None,
        "\n".join(lines),
        _by_method(found, "collapses", "does not collapse") if own else "",
    )


def repair_verdict(rows: Sequence[RegimeRow]) -> Verdict:
    """Whether memory and longer average bring back what is lost."""
    own = _rows(rows, "batches")
    lines = [
        "| method | remedy | repaired at 8 | repaired at 4 | runs that ran away at 8 and 4 |",
        "|---|---|---|---|--:|",
    ]
    held: list[bool] = []
    for method in (*_METHODS, "auto") if own else ():
        level = _batch_loss(own, method, "plain", 32)
        for remedy in ("plain", "memory", "average", "both") if method in _METHODS else ("plain", "memory"):
            repaired = [_batch_loss(own, method, remedy, size) <= level for size in (8, 4)]
            small = [
                row
                for row in own or ()
                if (row.case["method"], row.case["remedy"]) == (method, remedy) and row.case["size"] < _CLASSES
            ]
            words = " | ".join("yes" if each else "no" for each in repaired)
            away = sum(row.ran_away for row in small)
            lines.append(f"| {method} | {_REMEDIES[remedy]} | {words} | {away} of {len(small)} |")
            if remedy == "memory" and method in _METHODS:
                held += repaired
    return Verdict(
        "The memory of features repairs it",
        "Held if with both rescaled methods the loss with the memory, with batches of 8 and of 4, is at most that of "
        "batches of 32 without.",
        all(held) if own else None,
        "\n".join(lines),
    )


_METHODS = ("red-sgd", "red-adam")


def _batch_loss(rows: Sequence[RegimeRow] | None, method: str, remedy: str, size: int) -> float:
    """Mean loss of one cell."""
    wanted = (method, remedy, size)
    return _mean([r for r in rows or () if (r.case["method"], r.case["remedy"], r.case["size"]) == wanted])


def _by_method(found: dict[str, bool], yes: str, no: str) -> str:
    """A sentence of which method does what."""
    return "; ".join(f"{method} {yes if each else no}" for method, each in found.items()) + "."


# -- momentum ---------------------------------------------------------------------------------------------------------

_WAYS = {"adam": "Adam", "sgd": "gradient"}
_PROBLEMS = {"digits": "digits", "gpt": "GPT"}


def level_verdict(rows: Sequence[RegimeRow]) -> Verdict:
    """What ℓ = 1 − β₁ does to directions of ascent."""
    own = _rows(rows, "momentum")
    lines = _momentum_table(own, ("absolute",))
    fewer: list[bool] = []
    slower, most = 0, 0.0
    pairs = _pairs(own)
    for problem, way in pairs:
        at = {ell: _cell(own, problem, way, "absolute", ell) for ell in plan.LEVELS}
        low, high = at[plan.LEVELS[-1]], at[plan.LEVELS[0]]
        fewer.append(_ascents(low) < _ascents(high) and not any(row.ran_away for row in low))
        most = max(most, *(_ascents(cell) for cell in at.values()))
        slower += _mean(low) > min(_mean(at[ell]) for ell in plan.LEVELS[:-1])
    return Verdict(
        "With momentum, ℓ = 1 − β₁ keeps directions descending",
        "Held if with the absolute slope, on each problem and with each direction, the share of steps whose direction "
        "ascends on its batch (slope below 0) is smaller at ℓ = 0.1 than at ℓ = 1, and no run at ℓ = 0.1 ran away. "
        f"Digits: {plan.DIGITS_STEPS} steps of 128; GPT of {plan.GPT_BLOCKS} blocks, width {plan.GPT_WIDTH}: "
        f"{plan.GPT_STEPS} steps of {plan.GPT_BATCH} windows of {plan.GPT_CONTEXT} characters; β₁ = 0.9, ℓ constant.",
        all(fewer) if own else None,
        lines,
        f"Its loss is above the lower one of ℓ = 1 and ½ in {slower} of {len(pairs)} pairs of problem and direction. "
        f"At no level do more than {100.0 * most:.1f} % of the directions ascend."
        if own
        else "",
    )


def slope_verdict(rows: Sequence[RegimeRow]) -> Verdict:
    """Which slope is the best one."""
    own = _rows(rows, "momentum")
    names = ("absolute", "signed", "smoothed")
    held: list[bool] = []
    remarks: list[str] = []
    for problem, way in _pairs(own):
        best = {name: _best(own, problem, way, name) for name in names}
        held.append(best["absolute"] == min(best.values()))
        winner = min(names, key=lambda name: best[name])  # noqa: B023 - called in this turn alone
        below = 100.0 * (1.0 - best[winner] / best["absolute"])
        gain = "" if winner == "absolute" else f" ({below:.0f} % below the absolute one)"
        remarks.append(f"{_PROBLEMS[problem]}, {_WAYS[way]}: {winner}{gain}")
    return Verdict(
        "Of the slopes the absolute one serves momentum best",
        "Held if on each problem and with each direction the absolute slope, at the best of the three ℓ for it, has "
        "the lowest mean loss.",
        all(held) if own else None,
        _momentum_table(own, names[1:]),
        f"Lowest: {'; '.join(remarks)}." if own else "",
    )


def model_verdict(rows: Sequence[RegimeRow], step: str) -> Verdict:
    """Whether another model of the loss gains over one step along one direction."""
    own = _rows(rows, "momentum")
    held = [
        _best(own, problem, way, step) < _best(own, problem, way, "absolute")
        for problem, way in _pairs(own)
        if problem == "digits"
    ]
    claims = {
        "span": "The model on the span of gradient and last step gains over one step along the momentum",
        "layers": "A step of its own for each tensor gains over one step for all",
    }
    how = {
        "span": "Two directions, three curvatures by polarisation; the matrix takes the place of c in Algorithm 1.",
        "layers": "Each tensor's r from the curvature along its part of the direction alone.",
    }
    return Verdict(
        claims[step],
        "Held if on the digits, with each direction, it has a lower mean loss at its best ℓ than the absolute slope at "
        f"its best. {how[step]} An experiment of the benchmarks, not part of the optimizers.",
        all(held) if own else None,
        _momentum_table(own, (step,)),
    )


def _pairs(rows: Sequence[RegimeRow] | None) -> list[tuple[str, str]]:
    """Problems with directions."""
    return list(dict.fromkeys((row.case["problem"], row.case["way"]) for row in rows or ()))


def _cell(rows: Sequence[RegimeRow] | None, problem: str, way: str, step: str, ell: float) -> list[RegimeRow]:
    """The seeds of one cell."""
    wanted = (problem, way, step, ell)
    return [
        row for row in rows or () if (row.case["problem"], row.case["way"], row.case["step"], row.case["ell"]) == wanted
    ]


def _best(rows: Sequence[RegimeRow] | None, problem: str, way: str, step: str) -> float:
    """The lowest mean loss over the levels."""
    return min(_mean(_cell(rows, problem, way, step, ell)) for ell in plan.LEVELS)


def _momentum_table(rows: Sequence[RegimeRow] | None, steps: Sequence[str]) -> str:
    """Loss and share of ascending directions at each level."""
    heads = " | ".join(f"ℓ = {ell:g}: loss | ascents | ran away" for ell in plan.LEVELS)
    lines = [f"| problem | direction | step | {heads} |", f"|---|---|---|{'--:|' * 3 * len(plan.LEVELS)}"]
    for problem, way in _pairs(rows):
        for step in steps:
            cells: list[str] = []
            for ell in plan.LEVELS:
                cell = _cell(rows, problem, way, step, ell)
                if cell:
                    away = sum(row.ran_away for row in cell)
                    cells += [_loss(cell), f"{100.0 * _ascents(cell):.1f} %", f"{away} of {len(cell)}"]
            if cells:
                lines.append(f"| {_PROBLEMS[problem]} | {_WAYS[way]} | {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ascents(rows: Sequence[RegimeRow]) -> float:
    """Mean share of steps whose direction ascends."""
    return statistics.fmean(row.numbers["ascents"] or 0.0 for row in rows)


# -- rows -------------------------------------------------------------------------------------------------------------


def _rows(rows: Sequence[RegimeRow], experiment: Experiment) -> list[RegimeRow] | None:
    """The rows of an experiment in the plan's order; None if one is missing."""
    by_key = {row.key: row for row in rows}
    keys = [case_key(experiment, case) for case in plan.CASES[experiment]]
    return [by_key[key] for key in keys] if all(key in by_key for key in keys) else None


def _groups(
    rows: Sequence[RegimeRow], key: Callable[[dict[str, Any]], tuple[Any, ...]]
) -> dict[tuple[Any, ...], list[RegimeRow]]:
    """Rows whose cases share this."""
    groups: dict[tuple[Any, ...], list[RegimeRow]] = {}
    for row in rows:
        groups.setdefault(key(row.case), []).append(row)
    return groups


def _mean(rows: Sequence[RegimeRow]) -> float:
    """Mean loss at the end; infinite if one is not finite, or there is none."""
    return statistics.fmean([math.inf if row.last is None else row.last for row in rows] or [math.inf])


def _loss(rows: Sequence[RegimeRow]) -> str:
    """Mean and range of the losses at the end."""
    found = [math.inf if row.last is None else row.last for row in rows]
    lowest, highest = min(found), max(found)
    if not math.isfinite(lowest):
        return "not finite"
    return f"{_g(statistics.fmean(found))} ({_g(lowest)}–{_g(highest)})"


def _g(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else "not finite" if not math.isfinite(value) else f"{value:.3g}"
