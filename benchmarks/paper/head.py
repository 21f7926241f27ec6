"""What stands at the beginning of a page of figures: what was run, with which grid, and what was not."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.paper import plan
from benchmarks.paper.parts import Part
from benchmarks.paper.plan import Line, ScaleName
from benchmarks.paper.store import line_runs, tuning_runs
from benchmarks.paper.table import table_row
from curvestep.bench.record import RunRecord

_HEAD = (
    "# The figures of the source, run again",
    "",
    "`python -m benchmarks paper` makes the runs that the figures of *Adaptive scaling of the learning rate by second "
    "order automatic differentiation* (de Gournay, Gossard) ask for, draws them, and writes this page from the stores "
    "in `benchmarks/stores/paper`. `python -m benchmarks paper fig5 table3` does so for some of them.",
    "",
)
_SMALL = (
    "What is below is the scale `small`, made for one core and an hour. It says how the commands and the figures work, "
    "and what becomes of the source's observations at this size; it is no repetition of the source's results. Against "
    "the scale `paper` (`--scale paper`: the source's networks, lengths and grid): networks of 4 channels in the first "
    "convolution that see the images at 16×16, 768 to 1,280 examples, 25 epochs instead of 200 or 500, batches of 64 "
    "(128 for CIFAR-100). 150 steps do not take VGG19 far from chance on CIFAR-100: its panels say little. "
    "[paper-mnist.md](paper-mnist.md) has the panel of MNIST at the source's own size.",
    "",
    "Rates and decays (τ₀, d) are chosen as in the source, by the training loss after a fifth of the epochs, from a "
    "grid of 14 pairs instead of 42 or 56: τ₀ from 0.01 to 10 for SGD and its kin, from 1e-5 to 0.01 for what divides "
    "by a root of squares, {1, 5}·10ⁿ; d of 0.9 and 1. The grid is run with the first seed, and its cost counts. A run "
    "of the grid whose average loss is above ten times its first one, or not finite, ends there and is a miss. Where "
    "the table says *edge*, the pair lies at the end of this grid, and the source's might have had a better one.",
    "",
)
_REST = (
    "Lines are means of three seeds, or as many as the table says; bands go from the lowest to the highest, losses "
    "contain the L2 term. Loss of the batches and step are exponential moving averages with the task's factor (0.99, "
    "the linear probe 0.9). The second figure of each pair has the loss on a fixed part of the training data over what "
    "was spent on it, in gradients of the line's own batch and in seconds, tuning included: a line with a grid begins "
    "where its grid ended. A measured step counts as two gradients, one of Step-Tuned SGD as two, a batch on "
    "which Auto ends a window as three. The seconds are those of a machine that had other work: compare gradients. "
    "▲ stands for a line that is above its panel throughout, × for a seed that diverged.",
    "",
    "Auto and AdamW, with a grid of its own, stand beside the source's methods; the source has neither.",
    "",
)


def head(scale: ScaleName, part: Part, runs: Mapping[str, RunRecord], device: str) -> list[str]:
    """The lines before the first figure.

    Args:
        scale: of the plan.
        part: of it, that the page shows.
        runs: by key.
        device: where the runs were made.

    Returns:
        Lines of Markdown.
    """
    if part.tasks:
        return [*_part(scale, part, runs, device), *_REST]
    return [*_HEAD, *(_SMALL if scale == "small" else ()), *_REST]


def _part(scale: ScaleName, part: Part, runs: Mapping[str, RunRecord], device: str) -> list[str]:
    """The beginning of a page of some tasks."""
    tasks = ", ".join(part.tasks.split(","))
    size = "at its own size" if scale == "paper" else "at a small size"
    grid = f" --grid {part.grid}" if part.grid != "whole" else ""
    own = "paper-scale" if scale == "paper" else "paper"
    lines = plan.all_lines(tuple(part.figures(scale, device).values()))
    return [
        f"# The figures of the source {size}: {tasks}",
        "",
        f"`python -m benchmarks paper --scale {scale} --tasks {part.tasks}{grid} --page docs/{part.stem}.md` makes the "
        "runs that the figures of *Adaptive scaling of the learning rate by second order automatic differentiation* "
        f"(de Gournay, Gossard) ask for on {tasks}, draws them, and writes this page from `benchmarks/stores/{own}`. "
        "It repeats nothing that is there. [paper.md](paper.md) has all figures at a small size.",
        "",
        *(_source_size(lines) if scale == "paper" else ()),
        *_what_was_run(lines, runs),
    ]


def _source_size(lines: tuple[Line, ...]) -> list[str]:
    """In what the runs are the source's, and in what not."""
    config = next(line for line in lines if not line.tuned).runs()[0]
    out = [
        f"Network, batches of {config.batch_size}, {config.epochs} epochs, training data and λ = "
        f"{config.weight_decay:g} are the source's.",
        "",
    ]
    tuned = next((line for line in lines if line.tuned), None)
    if tuned is None or tuned.share == plan.TUNING_SHARE:
        return out
    rates = ", ".join(f"{rate:g}" for rate in tuned.rates)
    decays = " and ".join(f"{decay:g}" for decay in tuned.decays)
    whole = plan.TUNING_SHARE * config.epochs
    return [
        *out,
        "**The grid is coarser than the source's**, for a CPU: every other of its rates and every other of its decays, "
        f"τ₀ of {rates} and d of {decays}, {len(tuned.tuning())} pairs for each tuned method. A pair is chosen by the "
        f"training loss after {tuned.tuning_epochs} epochs, where the source waits for {whole:.0f}. This was fixed "
        "before the first run. The source's grid might have found a better pair: beside it a tuned method could be "
        "ahead by more, or behind by less, than here. The grid is run with the first seed, and its cost counts. A run "
        "of it whose average loss is above ten times its first one, or not finite, ends there and is a miss.",
        "",
    ]


def _what_was_run(lines: tuple[Line, ...], runs: Mapping[str, RunRecord]) -> list[str]:
    """How many of the planned runs of each line are there."""
    out = ["## What was run", "", table_row(["task", "line", "pairs of the grid", "seeds to the end"])]
    out.append(table_row(["---", "---", "--:", "--:"]))
    for line in lines:
        grid = f"{len(tuning_runs(line, runs))} of {len(line.tuning())}" if line.tuned else "–"
        seeds = len(line_runs(line, runs))
        out.append(table_row([line.wish.task, line.label, grid, f"{seeds} of {plan.SEEDS}" if seeds else "not run"]))
    own = [run.revision for line in lines if line.label == "auto" for run in line_runs(line, runs)]
    states = sorted({revision[:7] for revision in own if revision})
    if states:
        out += ["", f"Auto's runs have the rule that it had at revision {', '.join(states)}."]
    return [*out, ""]
