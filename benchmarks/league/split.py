"""The design half and the test half, drawn once: ``python -m benchmarks.league.split`` writes split.json."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.league.problems import PROBLEMS

SEED = 20_261_126
_FILE = Path(__file__).with_name("split.json")


def draw() -> dict[str, list[str]]:
    """Return both halves: each family is shuffled by the seed and dealt out in turn, odd ones to alternate halves."""
    source = random.Random(SEED)
    halves: tuple[list[str], list[str]] = ([], [])
    families = sorted({row.family for row in PROBLEMS.values()})
    source.shuffle(families)
    turn = source.randrange(2)
    for family in families:
        members = sorted(row.name for row in PROBLEMS.values() if row.family == family)
        source.shuffle(members)
        for name in members:
            halves[turn].append(name)
            turn = 1 - turn
    return {"design": sorted(halves[0]), "test": sorted(halves[1])}


def half(name: str) -> tuple[str, ...]:
    """Return the names of the problems of the half "design" or "test", as the committed file has them."""
    return tuple(json.loads(_FILE.read_text())[name])


if __name__ == "__main__":
    _FILE.write_text(json.dumps({"seed": SEED, **draw()}, indent=1) + "\n")
