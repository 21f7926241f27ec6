"""The page of the overhead, from its rows alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.overhead import price, targets, windows
from benchmarks.overhead.figure import figure_name, growth_name, write_figures
from benchmarks.overhead.order import in_order, named
from benchmarks.overhead.row import PROCESSOR_TIME, OverheadRow, machines
from benchmarks.overhead.waiting import MOST

__all__ = ["page", "write_figures"]

_INTRODUCTION: tuple[str, ...] = (
    "# What a measured step costs\n",
    "A whole step (forward, backward, measurement, update) over a plain step of torch's optimizer along the same "
    "direction: gradient over `SGD`, Adam's over `AdamW`. **time** is the median of the ratios in interleaved pairs, "
    "with their quartiles; where the cost repeats only after several steps, it is that of a step in their mean (of "
    "`Auto` in a run of 1,000 calls). **memory** is the ratio of the peaks of allocated "
    "bytes during a step, one that measures. **products** is the ratio of the multiply-adds of matrix "
    "products, convolutions and fused attention that torch's profiler saw, **predicted** what `curvestep.doctor` "
    "counts beforehand. **error** is the relative error of the batch's curvature along the gradient against float64, "
    "**per sample** the largest error of a sample's curvature over the largest absolute value of one; of VGG11 at B256 "
    "both are of the first 32 samples. Parameters are put back before each pair, so that every repetition does the "
    "same work. A row that compiles has a plain step that "
    "does not as its measure, like all others; the plain compiled step stands beside it, and **compile** is what the "
    "first steps took beyond the time of later ones.\n",
    "The variants differ in what is known after the step: the curvature along the direction for each sample, for the "
    "batch alone, its Gauss-Newton form, or losses at further points. Other libraries compute a product of a matrix "
    "with the gradient, from which the curvature of the batch follows; none gives it for each sample. Double backward "
    "and they need kernels that can be differentiated twice (no fused attention, no fused recurrence); the plain step "
    "does not give up its own.\n",
    "Other work on the machine spoils ratios, and most of all those of short steps on several threads: an operation "
    "ends when its last thread does, and a thread that has no processor ends when some other program lets it. So each "
    "row holds how long its threads waited for a processor, where the system counts that (Linux), and rows in which "
    f"they did for more than {100 * MOST:.0f} % of the time are named; `--stale` measures them again, and with them "
    "those whose source has changed since. Where a machine has other work all the time, `--processor-time` takes the "
    "time that the processor spent on one thread in place of that on the wall, which comes to the same without other "
    "work; such rows stand under a heading of their own. A row that is missing was not measured there.\n",
    "`CeilingAdam` is what `Auto` was before it measured at windows' ends: Adam's direction under a fixed ceiling, "
    "with a quarter of the samples measured on every sixteenth step (`curvestep.bench.methods.ceiling_adam`).\n",
    "Generated from the rows in `benchmarks/stores/overhead` by\n",
    "```console\n"
    "$ python -m benchmarks overhead --stale --threads 2                              # standard\n"
    "$ python -m benchmarks overhead --stale --threads 2 --set compiled\n"
    "$ python -m benchmarks overhead --stale --threads 2 --set growth\n"
    "$ python -m benchmarks overhead --threads 1 --processor-time --variants auto "
    "--networks 'mlp;4×128;vit;lstm;stride 2;b64'\n"
    "$ python -m benchmarks overhead --threads 1 --processor-time --variants 'auto, compiled;plain adamw, compiled' "
    "--networks mlp\n"
    "$ python -m benchmarks overhead --stale --set cuda --device cuda --within 6\n"
    "$ python -m benchmarks overhead --render                                         # measures nothing\n"
    "```\n",
    "Each goes on where it was stopped. `--within` begins no row after so many minutes: on an accelerator what the "
    "targets are about is measured first and what compiles last, a network that does not fit leaves a row that says "
    "so, and the same command again measures what is left. There products are whole float32, no TF32, in plain steps "
    "too. Other libraries come with "
    '`pip install "curvestep[peers]"`.\n',
)


def page(rows: Sequence[OverheadRow], environments: Mapping[str, Mapping[str, Any]], figures: str = "") -> str:
    """The document.

    Args:
        rows: of any machines.
        environments: of each machine.
        figures: path of the figures' folder as seen from the document; empty for none.

    Returns:
        Markdown.
    """
    out: list[str] = list(_INTRODUCTION)
    for index, machine in enumerate(machines(rows)):
        own = in_order([row for row in rows if row.machine == machine])
        environment = environments.get(machine, {})
        revisions = sorted({row.revision[:10] for row in own if row.revision})
        out.append(
            f"## {machine}\n\ntorch {environment.get('torch', '?')}, float32, revision {', '.join(revisions) or '?'}. "
            f"{_disturbed(own)}\n"
        )
        usual, grown = [row for row in own if not row.axis], [row for row in own if row.axis]
        judged = targets.table(usual, on_accelerator=environment.get("accelerator") is not None)
        out += [judged] if judged else []
        if figures and any(row.median is not None for row in usual):
            out.append(f"![ratios of times]({figures}/{figure_name(index)}.png)\n")
        if usual:
            out += [part for part in (_summary(usual), windows.section(usual), price.section(usual)) if part]
        for case in dict.fromkeys(row.subject for row in usual):
            out.append(_table(case, [row for row in usual if row.subject == case]))
        if grown:
            drawn = figures and any(row.median is not None for row in grown)
            out.append(_growth(grown, f"{figures}/{growth_name(index)}.png" if drawn else ""))
    return "\n".join(out)


def _disturbed(rows: Sequence[OverheadRow]) -> str:
    """A sentence on other work that was in the way."""
    timed = [row for row in rows if row.waited is not None]
    disturbed = [row for row in timed if row.disturbed]
    if rows and rows[0].machine.endswith(PROCESSOR_TIME):
        return "Times are those of the processor: work beside them counts only in what it takes of caches and memory."
    if not timed:
        return "Whether other work was in the way was not noted."
    if not disturbed:
        return f"In none of the {len(timed)} rows was other work in the way."
    return (
        f"In {len(disturbed)} of {len(timed)} rows other work was in the way, and their times are not to be relied on; "
        "these are marked ° and not judged."
    )


def _summary(rows: Sequence[OverheadRow]) -> str:
    """Ratios of times of all variants on all networks."""
    cases = list(dict.fromkeys(row.subject for row in rows))
    found = {(row.method, row.subject): _time(row) for row in rows}
    lines = [f"| time | {' | '.join(cases)} |", f"|---|{'--:|' * len(cases)}"]
    for method in named(rows):
        cells = [found.get((method, case), "–") for case in cases]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table(case: str, rows: Sequence[OverheadRow]) -> str:
    """One network."""
    compiles = any(row.compile_seconds is not None for row in rows)
    lines = [
        f"### {case}\n",
        "| variant | gives | over | time | quartiles | memory | products | predicted | error | per sample |"
        + (" compile |" if compiles else ""),
        "|---|---|---|--:|---|--:|--:|--:|--:|--:|" + ("--:|" if compiles else ""),
    ]
    notes = []
    for row in rows:
        if row.skipped:
            notes.append(f"- {row.method}: {row.skipped}.")
            continue
        seconds = "–" if row.compile_seconds is None else f"{row.compile_seconds:.0f} s"
        lines.append(
            f"| {row.method} | {row.gives} | {row.baseline} | {_time(row)} | {_two(row.low)} – "
            f"{_two(row.high)} | {_two(row.memory)} | {_two(row.products)} | {_two(row.predicted)} | "
            f"{_power(row.error)} | {_power(row.error_per_sample)} |" + (f" {seconds} |" if compiles else "")
        )
    if notes:
        lines += ["\nNot applicable:\n", *notes]
    return "\n".join(lines) + "\n"


def _growth(rows: Sequence[OverheadRow], figure: str) -> str:
    """How the ratio of times changes with one size of the network."""
    lines = [
        "### How the cost grows\n",
        "A GPT of 4 blocks, width 128, 16 sequences of 64, one of these varied at a time: ratio of times.\n",
    ]
    if figure:
        lines.append(f"![ratios of times by size]({figure})\n")
    for axis in dict.fromkeys(row.axis for row in rows):
        own = [row for row in rows if row.axis == axis]
        values = sorted({row.value for row in own})
        lines += [f"| {axis} | {' | '.join(map(str, values))} |", f"|---|{'--:|' * len(values)}"]
        for method in named(own):
            found = {row.value: row for row in own if row.method == method}
            cells = [_time(found[value]) if value in found else "–" for value in values]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _time(row: OverheadRow) -> str:
    """The ratio of times, marked where other work was in the way."""
    return _two(row.median) + ("°" if row.disturbed else "")


def _power(value: float | None) -> str:
    """One digit and a power of ten."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.0e}"


def _two(value: float | None) -> str:
    """Two digits behind the point."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"
