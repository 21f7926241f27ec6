"""Runs are compared seed by seed, and called apart only where the seeds agree on it."""

from __future__ import annotations

from benchmarks.comparisons.alike import alike_table
from tests.bench.synthetic import record


def test_a_difference_that_all_seeds_share_is_told_and_one_that_they_do_not_is_not() -> None:
    reference = [record("ceiling-1-all", None, seed, final=final) for seed, final in enumerate((0.2, 0.3, 0.25))]
    same = [record("level", None, seed, final=final) for seed, final in enumerate((0.25, 0.24, 0.25))]
    worse = [record("worse", None, seed, final=2.0 * final) for seed, final in enumerate((0.2, 0.3, 0.25))]
    lost = [record("lost", None, seed, final=0.1, diverged_at=3) for seed in range(3)]
    runs = [*reference, *same, *worse, *lost]
    table = alike_table({"digits": runs}, ["level", "worse", "lost"], "ceiling-1-all").splitlines()
    # ¼/0.2, 0.24/0.3 and 1: the mean of the logarithms is that of a product of one
    assert table[2].startswith("| digits | level | 3 | ") and "| 1.000 (0.800–1.250) |" in table[2]
    assert table[3].startswith("| digits | worse | 3 | ") and "**2.000 (2.000–2.000)**" in table[3]
    assert len(table) == 8  # what diverged has no end to compare, and a line of its own nowhere
    assert table[-1].startswith("Told apart with 95 % confidence (bold):")
