"""Figures come from the store alone, the same files each time, and show every leading curve."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from curvestep.bench.record import RunRecord, run_store
from curvestep.bench.store import Store
from curvestep.report.figure import draw, write_figures
from curvestep.report.series import panels
from curvestep.report.style import line_style
from tests.bench.synthetic import record

RUNS = [
    record("red-sgd", None, seed=0, final=0.0004),
    record("red-sgd", None, seed=1, final=0.0006),
    record(lr=0.5, final=0.01),
    record(lr=0.1, final=0.25),
    record(lr=10.0, diverged_at=4),
]
OTHER_TASK = [record("red-sgd", None, task="mnist-autoencoder", accuracy=None)]


@pytest.fixture
def store(tmp_path: Path) -> Store[RunRecord]:
    store = run_store(tmp_path / "store")
    for run in RUNS + OTHER_TASK:
        store.append(run)
    return store


def test_figures_regenerate_from_the_store(store: Store[RunRecord], tmp_path: Path) -> None:
    first = write_figures(panels(store.read()), tmp_path / "first" / "figure", ["seconds"])
    second = write_figures(panels(run_store(store.path).read()), tmp_path / "second" / "figure", ["seconds"])
    assert [path.name for path in first] == ["figure-seconds.png", "figure-seconds.svg"]
    assert first[0].read_bytes() == second[0].read_bytes()
    assert _shapes(first[1].read_text(encoding="utf-8")) == _shapes(second[1].read_text(encoding="utf-8"))
    assert all(path.stat().st_size > 10_000 for path in first)


def _shapes(drawing: str) -> set[tuple[str, ...]]:
    """The outlines in a drawing, coordinates to a tenth of a point.

    matplotlib names and shares definitions by the addresses of its objects, so that equal drawings may say it in
    different words and orders.
    """
    outlines = re.findall(r' d="([^"]+)"', drawing)
    return {
        tuple(f"{float(t):.1f}" if re.fullmatch(r"-?\d+\.?\d*", t) else t for t in outline.split())
        for outline in outlines
    }


def test_tasks_are_columns_and_measurements_rows(store: Store[RunRecord]) -> None:
    figure = draw(panels(store.read()), "epoch")
    axes = figure.axes
    assert len(axes) == 8
    titles = [axis.get_title(loc="left") for axis in axes]
    rows = ("loss of the batches", "step size", "test loss", "test accuracy")
    assert titles == [title for title in rows for _ in "ab"]
    assert axes[0].get_yscale() == "log" and axes[6].get_yscale() == "linear"
    assert [axis.get_xlabel() for axis in axes[-2:]] == ["epoch", "epoch"]
    assert "this task has no accuracy" in [text.get_text() for text in axes[7].texts]
    assert [axis.texts[0].get_text() for axis in axes[:2]] == ["digits-mlp", "mnist-autoencoder"]
    assert "best: sgd, lr 0.5" in [text.get_text() for text in axes[0].texts]


def test_single_task_is_folded_and_draws_what_the_store_holds() -> None:
    figure = draw(panels(RUNS), "seconds")
    assert len(figure.axes) == 4
    assert figure.axes[2].get_xlabel() == "seconds of training steps"
    ends = sorted(float(np.asarray(line.get_ydata())[-1]) for line in figure.axes[0].lines)
    # The run that diverges in its fourth step is drawn up to the third, where its loss is 1.39.
    assert ends == pytest.approx([0.0005, 0.01, 0.25, 2.0 * 0.005 ** (2 / 29)])
    # Leaders are drawn thicker than the other settings of their method.
    widths = sorted(line.get_linewidth() for line in figure.axes[0].lines)
    assert widths.count(1.8) == 2 and widths.count(0.8) == 2


def test_legend_names_each_method_once() -> None:
    (legend,) = draw(panels(RUNS), "epoch").legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["red-sgd", "sgd, lr 0.5 (best of 3)", "other settings"]


def test_of_many_methods_the_first_and_the_known_have_a_name() -> None:
    rivals = [record(f"method{index}", None, final=0.01 * index) for index in range(1, 13)]
    figure = draw(panels([*rivals, record("adamw", 0.1, final=0.5)]), "epoch")
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [*(f"method{index}" for index in range(1, 8)), "adamw, lr 0.1", "5 others, in the table"]
    assert sum(line.get_linewidth() == 1.8 for line in figure.axes[0].lines) == 8


def test_diverged_leader_is_marked() -> None:
    figure = draw(panels([record(lr=10.0, diverged_at=14)]), "epoch")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sgd, lr 10", "a seed diverged"]
    assert [line.get_marker() for line in figure.axes[0].lines] == ["None", "X"]


def test_runs_that_diverge_at_once_still_make_a_figure(tmp_path: Path) -> None:
    assert len(write_figures(panels([record(lr=10.0, diverged_at=1)]), tmp_path / "figure", ["epoch"])) == 2


def test_every_method_has_a_style_of_its_own() -> None:
    from curvestep.bench.methods import METHODS
    from curvestep.bench.methods.paper import PAPER

    # The variants of the source's figures stand in those alone, which colour their lines themselves.
    own = {name: method for name, method in METHODS.items() if method not in PAPER}
    styles = {line_style(name, method.needs_lr) for name, method in own.items()}
    assert len(styles) == len(own)
    plain = [name for name in own if line_style(name, False).dashes == "solid"]
    assert len({line_style(name, False).colour for name in plain}) == len(plain)
    assert line_style("something new", False) == line_style("something new", False)
