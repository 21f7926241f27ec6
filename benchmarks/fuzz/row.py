"""What a campaign of random programs gave, and the page of all campaigns; imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from curvestep.bench.store import Row

KINDS = {
    "chains": "chains of one to eight operations",
    "layouts": "one operation, the samples on each axis and in each argument",
}


_LOGCUMSUMEXP = (
    "The engine is right: torch's second derivative of `logcumsumexp` is wrong where zeros come into its backward, as "
    "they do from a maximum or a mask. Written as `x.exp().cumsum(1).log()` both agree. The truth takes an explicit "
    "form since."
)
_AS_LONG = (
    "The engine is right: the number of samples was guessed, the part of them that was drawn is as long as the "
    "program's batch, and it was taken for the whole of it. Parts are told by `Curvature.indices` since."
)
# What came of looking at a find, by generator, seed and case: the same signature elsewhere is looked at again.
LOOKED_AT = {
    ("chains", 0, 10872): _LOGCUMSUMEXP,
    ("chains", 0, 17522): _LOGCUMSUMEXP,
    ("chains", 0, 40893): _LOGCUMSUMEXP,
    ("chains", 0, 11702): "The engine is right: the loss is constant, both numbers are rounding, and without a second "
    "derivative in torch the tolerance was that of differences alone. It has a floor since.",
    ("chains", 0, 27447): "The engine is right: every curvature is rounding, and it was by them that the part's "
    "samples were told. They are those of `Curvature.indices` since.",
    ("chains", 0, 48724): "The engine is right by what it was told: the data have one axis of the 4 samples that "
    "are stated, their columns, and the program means the rows that a `cat` makes of 2.",
    ("chains", 0, 51721): "The engine is right: the loss averages over the axis of the samples as over classes. Its "
    "terms have no such axis, but before that mean each sample has its own; others are in them, as with batch "
    "normalisation.",
    ("chains", 0, 59375): _AS_LONG,
    ("chains", 0, 61797): _AS_LONG,
    ("chains", 0, 63224): "The machine was busy: the program answers at once.",
    ("chains", 0, 76679): "Mended: nothing bends in this loss, so that it was cut although the samples are lost on "
    "the way; the slope of the part was that of the batch. Such a loss is measured whole since.",
    ("chains", 0, 87973): "The engine is right: the number of samples was guessed, and the data have two axes of that "
    "length. The engine's rows are those of the first, the truth's those of the last.",
    ("chains", 0, 91006): "torch's: `select_scatter` of a view whose entries share memory (`unfold`) writes into that "
    "memory, and its gradient is not that of what it computed (slope 0.175; 0.116 by differences). The engine has the "
    "curvature of the operation as it is documented.",
    ("layouts", 0, 23238): "Mended: `x[0]` of data all of whose axes are as long as the batch. The engine took it for "
    "a batch drawn out of a stack of batches, and here it is the first sample's. Such rows are not called exact since.",
    ("layouts", 0, 26492): "Mended: two operands have an axis as long as the batch, on different axes of the result. "
    "The engine took the first for the samples and the other for a table, and here it is the other way round. Where "
    "neither is shown to be the samples, the rows are not called exact since.",
    ("layouts", 0, 30431): "Mended: how a batch is cut was looked up by a key in which `h + 0` could look like "
    "`h + x`.",
}


@final
@dataclass(frozen=True)
class FuzzRow(Row):
    """The cases `first` to `first + cases` of a generator and a seed, on one version of the engine.

    Attributes:
        generator: what draws the programs: "chains" or "layouts".
        seed: of the generator.
        engine: a digest of the engine's files: other files, another row.
        torch: its version.
        first: the number of the first case.
        cases: how many there were.
        skipped: of them, places at which an operation cannot stand.
        checks: numbers that were compared with a truth.
        seconds: that it took.
        operations: how often each operation came.
        refused: what the engine refused, by its sentence.
        unjudged: for what no truth could be had, and why.
        failures: what was wrong, by what and how often, with a case and the shrunk program.
    """

    generator: str
    seed: int
    engine: str
    torch: str
    first: int
    cases: int
    skipped: int
    checks: int
    seconds: float
    operations: dict[str, int]
    refused: dict[str, int]
    unjudged: dict[str, int]
    failures: dict[str, dict[str, Any]]

    @property
    def key(self) -> tuple[str, int, str, str, int]:
        """Which cases on which engine."""
        return self.generator, self.seed, self.engine, self.torch, self.first


def page(rows: Sequence[FuzzRow]) -> str:
    """The document: what was run on which files of the engine, and what was wrong."""
    out = [
        "# Random programs",
        "",
        "Programs are drawn at random, recorded and measured by every pass, in float64: any operation of a table of "
        "some hundreds behind any other one, thirty losses, samples on any axis, shared or in several arguments, "
        "writes in place, memory modes, parts of a batch, either form. Total, slope, product and the line are "
        "compared with torch's double backward *and* with extrapolated central differences, rows that are called "
        "exact with the double backward of that sample's own terms. Where torch lacks a derivative (fused attention) "
        "or has it wrong (`logcumsumexp`, batch norm in an unusual layout), the truth is made of another form of the "
        "operation; where double backward still differs from the differences and the engine does not, rows, parts and "
        "products are not judged, and counted so. A program on which the engine is wrong is shrunk and printed, to be "
        "run as it stands. Generated by "
        "`python -m benchmarks fuzz`.",
        "",
        "```console",
        "$ python -m benchmarks fuzz --hours 2                       # goes on where the store ends",
        "$ python -m benchmarks fuzz --generator layouts --cases 100000",
        "```",
        "",
        "`tests/fuzz` runs a fixed share of the same cases with every change, and plants wrong rules that have to be "
        "found.",
        "",
        "## What was run",
        "",
        "*Engine* is a digest of its files: a run of the command on other files begins a row of its own, with the "
        "cases that follow.",
        "",
        "| programs | seed | cases | numbers compared | operations | wrong | engine |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        wrong = sum(find["count"] for find in row.failures.values())
        span = f"{row.cases - row.skipped:,} (from {row.first:,})"
        numbers = f"{row.checks:,} | {len(row.operations)} | {wrong}"
        out.append(f"| {KINDS[row.generator]} | {row.seed} | {span} | {numbers} | {row.engine} |")
    out += ["", "## What was wrong", ""]
    finds = [(row, name, find) for row in rows for name, find in row.failures.items()]
    for row, name, find in finds:
        why = LOOKED_AT.get((row.generator, row.seed, find["case"]), "")
        out.append(f"- `{name}` ({find['count']} of {KINDS[row.generator]}): {find['detail']}. {why}".rstrip())
    out += [] if finds else ["Nothing."]
    for title, counts in (
        ("What was refused", _sum([row.refused for row in rows])),
        ("What could not be judged", _sum([row.unjudged for row in rows])),
    ):
        out += ["", f"## {title}", "", "| times | |", "|--:|---|"]
        out += [f"| {count:,} | {sentence} |" for sentence, count in counts.most_common()]
    seldom = sorted(_sum([row.operations for row in rows]).items(), key=lambda item: (item[1], item[0]))[:10]
    out += ["", "## What came least often", "", ", ".join(f"{name} ({count:,})" for name, count in seldom) + "."]
    return "\n".join(out) + "\n"


def _sum(counts: Sequence[dict[str, int]]) -> Counter[str]:
    """All of them added."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
