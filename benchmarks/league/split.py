"""The sets of problems, each fixed before its first run: ``python -m benchmarks.league.split`` writes split.json."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.league.problems import FIFTH, FIRST, FRESH, LATER

SEED = 20_261_126
_FILE = Path(__file__).with_name("split.json")


@dataclass(frozen=True)
class Half:
    """One row of the table of sets.

    Args:
        name: its name on the command line, in split.json and in the page's heading.
        drawn: the day on which its problems were fixed.
        what: what it is for and what it had seen, in sentences of the page.
    """

    name: str
    drawn: str
    what: str


#: The sets in the order in which the page shows them.
HALVES = (
    Half(
        "fifth",
        "2026-11-27",
        "Sixteen problems, written after the other four had been seen. Before a rule was frozen, nothing ran on them "
        "but 50 steps of AdamW at 3e-3, to time them; then they were looked at once. The rule that `auto` has was "
        "frozen before. Since then it takes back first steps that were far too long; on these problems none are, and "
        "its runs are the same bit for bit. No run makes more than four passes through its data: "
        "the later half has two small sets with forty, where a score says when to stop rather than how to step.",
    ),
    Half(
        "later",
        "2026-11-27",
        "Sixteen problems, written after the next three halves had been seen. It was looked at once, when the rule "
        "before was frozen: that rule had a geometric mean of 1.033 here, worst ratio 2.27. Since then this half is "
        "for design too.",
    ),
    Half(
        "fresh",
        "2026-11-27",
        "Sixteen problems, written after the next two halves had been seen. It was looked at once, when the rule "
        "before was frozen: that rule had a geometric mean of 1.067 here, worst ratio 1.80. Since then this half is "
        "for design too.",
    ),
    Half(
        "test",
        "2026-11-26",
        "Fifteen of the first thirty problems. It was looked at once, when a still earlier rule was frozen: that "
        "rule had a geometric mean of 1.197 here, worst ratio 4.1, and 0.938, worst 1.16, on the next half. Since then "
        "this half is for design too.",
    ),
    Half("design", "2026-11-26", "The other fifteen of the first thirty problems, for design from the first."),
)


def draw() -> dict[str, list[str]]:
    """Return the problems of each set.

    Of the first thirty, each family is shuffled by the seed and dealt out in turn, odd ones to alternate halves; the
    others are all in the set that they were written for.
    """
    source = random.Random(SEED)
    halves: tuple[list[str], list[str]] = ([], [])
    families = sorted({row.family for row in FIRST})
    source.shuffle(families)
    turn = source.randrange(2)
    for family in families:
        members = sorted(row.name for row in FIRST if row.family == family)
        source.shuffle(members)
        for name in members:
            halves[turn].append(name)
            turn = 1 - turn
    whole = {"fresh": FRESH, "later": LATER, "fifth": FIFTH}
    return {
        "design": sorted(halves[0]),
        "test": sorted(halves[1]),
        **{name: sorted(row.name for row in rows) for name, rows in whole.items()},
    }


def half(name: str) -> tuple[str, ...]:
    """Return the names of the problems of a set, as the committed file has them."""
    return tuple(json.loads(_FILE.read_text())[name])


if __name__ == "__main__":
    _FILE.write_text(json.dumps({"seed": SEED, **draw()}, indent=1) + "\n")
