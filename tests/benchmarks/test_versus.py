"""A method is judged by its means over the seeds, against the rival's best rate."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks.comparisons.rates import write_rates
from benchmarks.comparisons.versus import scores, versus_table
from curvestep.bench.record import RunRecord
from tests.bench.synthetic import record


def held_out(run: RunRecord, loss: float) -> RunRecord:
    """The run with another test loss at its end."""
    last = dataclasses.replace(run.epochs[-1], test_loss=loss)
    return dataclasses.replace(run, epochs=(*run.epochs[:-1], last))


RIVAL = [
    *(record("adamw", 0.1, seed, final=final) for seed, final in enumerate((0.2, 0.4))),
    *(record("adamw", 0.01, seed, final=final) for seed, final in enumerate((0.5, 0.5))),
    *(record("adamw", 10.0, seed, final=0.1, diverged_at=bad) for seed, bad in enumerate((None, 4))),
]
# Equal means are at or below; three of four steps were taken.
AHEAD = [
    dataclasses.replace(record("auto", None, seed, final=final), outcomes={"TAKEN": 3, "UNDER_CEILING": 1})
    for seed, final in enumerate((0.1, 0.5))
]
BEHIND = [held_out(record("auto", None, seed, final=0.2), 0.9) for seed in range(2)]


def test_the_best_rate_is_that_of_the_lowest_mean_training_loss_and_a_divergence_is_infinite() -> None:
    found = scores([*RIVAL, *AHEAD])
    assert [score.label for score in found["adamw"]] == ["adamw, lr 0.1", "adamw, lr 0.01", "adamw, lr 10"]
    assert found["adamw"][-1].mean_train == float("inf")


def test_the_verdict_names_what_is_at_or_below() -> None:
    table = versus_table({"easy": [*RIVAL, *AHEAD], "hard": [*RIVAL, *BEHIND]}, "auto", "adamw", "TAKEN").splitlines()
    assert table[2] == (
        "| easy | 0.1 of 3 | 0.300 (0.200–0.400) | 0.330 (0.220–0.440) "
        "| 0.300 (0.100–0.500) | 0.330 (0.110–0.550) | both | 75 % |"
    )
    assert table[3].endswith("| 0.200 (0.200–0.200) | 0.900 (0.900–0.900) | training | 0 % |")
    assert table[-1] == "At or below the best adamw in both losses on 1 of 2."


def test_a_method_that_diverged_is_shown_as_that() -> None:
    diverged = [record("auto", None, seed, diverged_at=4) for seed in range(2)]
    (line,) = versus_table({"easy": [*RIVAL, *diverged]}, "auto", "adamw", "TAKEN").splitlines()[2:3]
    assert line.endswith("| 2 of 2 diverged | 2 of 2 diverged | neither | 0 % |")


def test_the_figure_has_a_panel_a_problem_and_marks_what_is_far_above(tmp_path: Path) -> None:
    problems = {"easy": [*RIVAL, *AHEAD], "hard": [*RIVAL, *BEHIND]}
    picture, drawing = write_rates(problems, "auto", "adamw", tmp_path / "figure")
    assert picture.stat().st_size > 10_000
    text = drawing.read_text(encoding="utf-8")
    # Text is outlines, under the comment that says what it was; a diverged rate has a mark and no line to it.
    assert all(f"<!-- {words} -->" in text for words in ("easy", "hard", "auto, no rate", "adamw at each rate"))
