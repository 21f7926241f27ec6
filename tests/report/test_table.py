"""Tables show what the store holds."""

from __future__ import annotations

import io

from rich.console import Console

from curvestep.report.series import panels
from curvestep.report.table import json_rows, markdown, rich_table
from tests.bench.synthetic import record

RUNS = [
    record("red-sgd", None, seed=0, final=0.0004),
    record("red-sgd", None, seed=1, final=0.0006),
    record(lr=0.5, seed=0, final=0.01),
    record(lr=0.5, seed=1, final=0.01),
    record(lr=10.0, seed=0, diverged_at=4),
    record(lr=10.0, seed=1, final=3.0),
    record(lr=0.1, seed=0, final=0.25),
]


def rendered() -> str:
    console = Console(file=io.StringIO(), width=80)
    for panel in panels(RUNS):
        console.print(rich_table(panel))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_table_fits_eighty_columns_and_loses_nothing() -> None:
    text = rendered()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    for expected in ("red-sgd", "5.00e-4", "(4.00e-4–6.00e-4)", "sgd, lr 0.5", "0.0100", "diverged 1 of 2", "0.900"):
        assert expected in text


def test_markdown_has_one_row_a_series_in_order() -> None:
    lines = markdown(panels(RUNS)).splitlines()
    assert lines[0] == "### digits-mlp (paper scale, 3 epochs, batch 128)"
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| **red-sgd**",
        "| **sgd, lr 0.5**",
        "| sgd, lr 0.1 (1 seed)",
        "| sgd, lr 10",
    ]
    assert rows[0].split(" | ")[1] == "5.00e-4 (4.00e-4–6.00e-4)"
    assert len({row.count("|") for row in lines if row.startswith("|")}) == 1
    assert "mean (min–max) over 2 seeds" in lines[-1]


def test_task_without_accuracy_has_no_such_column() -> None:
    (panel,) = panels([record(accuracy=None)])
    assert "accuracy" not in markdown([panel])


def test_json_rows_keep_full_numbers() -> None:
    (panel,) = panels(RUNS)
    rows = json_rows(panel)
    assert rows[0]["label"] == "red-sgd" and rows[0]["lr"] is None and rows[0]["seeds"] == [0, 1]
    assert abs(rows[0]["training_loss"]["mean"] - 0.0005) < 1e-12
    assert rows[-1]["diverged"] == 1 and rows[-1]["training_loss"] is None
    assert [row["best_of_method"] for row in rows] == [True, True, False, False]
