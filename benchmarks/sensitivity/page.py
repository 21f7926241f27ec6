"""The page of the sensitivity, from the rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.overhead.row import Machine
from benchmarks.sensitivity.plan import SEEDS, SUBJECTS, VALUES, WISHES, Subject, cases
from benchmarks.sensitivity.row import SensitivityRow, case_key
from benchmarks.sensitivity.width import Curve, Split, Width, curve, width
from curvestep.report.table import number

#: "Near the best", as a multiple of the best loss: a tenth above it, and twice it.
NEAR, WIDE = 1.1, 2.0


def page(rows: Sequence[SensitivityRow], machines: Sequence[Machine], figure: str) -> str:
    """The document.

    Args:
        rows: of the store.
        machines: on which they were made.
        figure: its path as seen from the page.

    Returns:
        Markdown.
    """
    out = [
        "# How much the one number matters",
        "",
        "Every method here is given one number: ℓ, a first scale, a ceiling, a cap, a first rate, or a learning rate. "
        f"Each is set to the same {len(VALUES)} values from {VALUES[0]:g} to {VALUES[-1]:g}, two a decade; everything "
        f"else stays at its default, rates have no schedule, and each value has {SEEDS} seeds. "
        "`python -m benchmarks sensitivity` makes the runs that are missing (MNIST is needed) and writes this page "
        "from the rows in `benchmarks/stores/sensitivity`.",
        "",
        f"![loss at the end over the number]({figure})",
        "",
        "Lines are geometric means over the seeds, bands their range. Above the dotted line (a loss of 5) and where a "
        "seed was not finite a value is a **miss**, drawn as a cross. Open circles are defaults.",
        "",
        f"**width** is the number of decades around the best value in which the mean loss is at most {NEAR:g} (or "
        f"{WIDE:g}) times the best one; between two values the logarithm of the loss is taken as a line over that of "
        "the number, and towards a value that diverged the stretch ends at the last one that did not. "
        "“≥” where it goes on beyond the values that were tried. The number of a rate-free method can be left at its "
        "default: **default** is the factor by which the loss there exceeds the best.",
        "",
        "The first scale of `Auto` is in units of the weights' typical size, and is held to between a thirtieth of and "
        "ten times the step that Algorithm 1 measures at the first batch: beyond that its line is flat. Above six "
        "times its first steps are on trial, and may be taken back ([long.md](long.md#a-first-scale-on-trial)). "
        "Afterwards "
        "`Auto` changes its scale by a factor of two at most at a window's end, 3 times in 220 calls of `step` and 2 "
        "times in 128 ([auto.md](auto.md)). "
        "`CeilingAdam` is what `Auto` was before: Adam's direction with a measured step under a ceiling of fixed "
        "height (`curvestep.bench.methods.ceiling_adam`).",
        "",
    ]
    out += _missing(rows)
    for task, wish in WISHES.items():
        own = [row for row in rows if row.task == task]
        if not own:
            continue
        steps = max(row.steps for row in own)
        size = f", {wish.subset:,} examples" if wish.subset else ""
        out += [
            f"## {task} ({wish.scale} scale, {wish.epochs} epochs{size}, {steps} steps)",
            "",
            *_table(rows, task),
            "",
        ]
        out += [_reading(rows, task), ""]
    if machines:
        out += [_made(rows, machines), ""]
    return "\n".join(out)


def summary(rows: Sequence[SensitivityRow]) -> list[str]:
    """The tables alone.

    Args:
        rows: of the store.

    Returns:
        Lines of Markdown: for each task its table, and the widest and the narrowest in a sentence.
    """
    out = _missing(rows)
    for task in WISHES:
        if any(row.task == task for row in rows):
            out += [f"### {task}", "", *_table(rows, task), "", _reading(rows, task), ""]
    return out[:-1] if out else ["Not measured yet."]


def _table(rows: Sequence[SensitivityRow], task: str) -> list[str]:
    """One line a method."""
    lines = [
        "| what is varied | best value | training loss there | width, 10 % | width, twice | default | best for test "
        "| test loss there | width, 10 % | not finite from |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for subject in SUBJECTS:
        train, test = (curve(rows, task, subject.name, split) for split in ("train", "test"))
        if not train.values:
            continue
        cells = [
            subject.varied,
            *_best(train),
            _decades(width(train, NEAR)),
            _decades(width(train, WIDE)),
            _default(subject, train),
            *_best(test),
            _decades(width(test, NEAR)),
            _first_divergence(rows, task, subject),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _best(found: Curve) -> list[str]:
    """The best value and the loss there, with the range of the seeds."""
    at, mean = found.best
    if not math.isfinite(mean):
        return ["–", "diverged"]
    place = found.values.index(at)
    return [f"{at:.2g}", f"{number(mean)} ({number(found.lows[place])}–{number(found.highs[place])})"]


def _decades(found: Width | None) -> str:
    """The width, with a sign where it is open."""
    if found is None:
        return "–"
    return f"{'≥ ' if found.open_low or found.open_high else ''}{found.decades:.2f}"


def _default(subject: Subject, found: Curve) -> str:
    """Loss at the default over the best one, along the lines between values."""
    ratio = default_ratio(subject, found)
    return "–" if ratio is None else f"{ratio:.2f}"


def default_ratio(subject: Subject, found: Curve) -> float | None:
    """Loss at the default over the best one, between two values along the line of the logarithms.

    Args:
        subject: the method.
        found: its curve.

    Returns:
        The ratio; None where there is no default, or it lies beside a divergence.
    """
    _, least = found.best
    if subject.default is None or not math.isfinite(least):
        return None
    for low, high, a, b in zip(found.values, found.values[1:], found.means, found.means[1:], strict=False):
        if low <= subject.default <= high and math.isfinite(a) and math.isfinite(b):
            share = math.log(subject.default / low) / math.log(high / low)
            return math.exp(math.log(a) + share * math.log(b / a)) / least
    return None


def _first_divergence(rows: Sequence[SensitivityRow], task: str, subject: Subject) -> str:
    """The least value at which the loss of a seed was not finite."""
    found = [row.value for row in rows if (row.task, row.method) == (task, subject.name) and row.train is None]
    return f"{min(found):.2g}" if found else "nowhere"


def _reading(rows: Sequence[SensitivityRow], task: str) -> str:
    """The widest of each column, in a sentence."""
    parts: list[str] = []
    columns: tuple[tuple[str, Split, float], ...] = (
        ("training loss within 10 %", "train", NEAR),
        ("training loss within twice", "train", WIDE),
        ("test loss within 10 %", "test", NEAR),
    )
    for name, split, multiple in columns:
        found = [
            (stretch.decades, subject.varied)
            for subject in SUBJECTS
            if (stretch := width(curve(rows, task, subject.name, split), multiple)) is not None
        ]
        if found:
            ordered = sorted(found, reverse=True)
            told = ", ".join(f"{method} {decades:.2f}" for decades, method in ordered[:3])
            parts.append(f"Widest in {name}: {told}; narrowest: {ordered[-1][1]} {ordered[-1][0]:.2f}.")
    return " ".join(parts)


def _missing(rows: Sequence[SensitivityRow]) -> list[str]:
    """A sentence where runs are missing."""
    held = {row.key for row in rows}
    wanted = [case_key(case) for task in WISHES for case in cases(task)]
    lacking = sum(key not in held for key in wanted)
    if not lacking:
        return []
    return [
        f"{lacking} of {len(wanted)} runs are not there yet; a value of which a seed is missing is not shown.",
        "",
    ]


def _made(rows: Sequence[SensitivityRow], machines: Sequence[Machine]) -> str:
    """Where and with what, and how long it took."""
    used = {row.machine for row in rows}
    known = [each for each in machines if each.machine in used]
    revisions = sorted({(row.revision or "no revision")[:10] for row in rows})
    seconds = sum(row.seconds for row in rows)
    places = "; ".join(f"{each.machine}, torch {each.environment['torch']}" for each in known)
    diverged = sum(row.status == "diverged" for row in rows)
    return (
        f"{len(rows)} runs ({diverged} diverged), {seconds / 60:.0f} minutes of steps by the clock, on {places}; "
        f"revision{'s' if len(revisions) > 1 else ''} {', '.join(revisions)}."
    )
