"""The plan asks for what the source's figures show; the page and the figures are those of the stores."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from benchmarks.paper import plan, times
from benchmarks.paper.cost import cost, gradients
from benchmarks.paper.curves import over_cost, over_epochs
from benchmarks.paper.figure import write_figures
from benchmarks.paper.page import text
from benchmarks.paper.plan import Figure, Line, Panel, ScaleName
from benchmarks.paper.store import chosen, line_runs, read_runs
from benchmarks.paper.times import TimeRow, ratio, times_store
from benchmarks.repository import DOCS, FIGURES, STORES
from curvestep.bench.record import RunRecord
from curvestep.bench.settings import LR_GRID, Wish
from curvestep.bench.tasks import get_task
from tests.bench.synthetic import record

STORE = STORES / "paper"


@pytest.mark.parametrize("scale", plan.SCALES)
def test_every_run_of_the_plan_is_one_that_can_be_made(scale: ScaleName) -> None:
    """Its settings are checked as they are made; here that its batch fits its data, and that no two runs are one."""
    figures = plan.figures(scale)
    assert tuple(figures) == plan.FIGURES
    lines = plan.all_lines(tuple(figures.values()))
    for line in lines:
        configs = line.tuning() or line.runs()
        assert len({config.key for config in configs}) == len(configs)
        for config in configs:
            assert config.batch_size <= (config.subset or 50_000) and config.scale in get_task(config.task).scales
    for figure in figures.values():
        for panel in figure.panels:
            assert len({line.label for line in panel.lines}) == len(panel.lines)
            assert {"auto"} <= {line.method for line in panel.lines}, "Auto stands beside the source's methods"


def test_the_scale_of_the_source_has_its_numbers() -> None:
    figures = plan.figures("paper")
    for panel in figures["fig2"].panels:
        for line in panel.lines:
            config = line.runs(line.tuning()[0] if line.tuned else None)[0]
            assert config.epochs == (200 if config.task == "mnist-lenet" else 500)
            assert (config.batch_size, config.weight_decay, config.subset) == (256, 1e-7, None)
            if line.tuned:
                assert line.rates == LR_GRID and line.tuning_epochs == config.epochs // 5
                assert len(line.tuning()) == (56 if config.task == "mnist-lenet" else 42)
    assert [line.wish.batch_size for line in figures["fig4"].panels[0].lines][:5] == [1024, 2048, 4096, 8192, 16384]
    assert [panel.marks[:2] for panel in figures["fig3"].panels] == [(18.0, 38.0)] * 2
    assert {line.method for line in figures["fig5"].panels[0].lines} >= {"red-sgd", "red-sgd-0", "red-sgd-0.99"}
    assert [line.wish.weight_decay for panel in figures["fig8"].panels for line in panel.lines] == [1e-7] * 6 + [
        1e-4
    ] * 6


def measured(run: RunRecord, method: str, share: float | None) -> RunRecord:
    """A run of a method that measured at this share of its steps."""
    epochs = tuple(dataclasses.replace(epoch, measured_share=share) for epoch in run.epochs)
    return dataclasses.replace(run, config=dataclasses.replace(run.config, method=method), epochs=epochs)


@pytest.mark.parametrize(
    ("method", "share", "spent"),
    [("sgd", None, 1.0), ("red-sgd", 1.0, 2.0), ("step-tuned", None, 2.0)],
)
def test_what_a_step_costs(method: str, share: float | None, spent: float) -> None:
    """A gradient is 3 products, a measurement 3 more."""
    run = measured(record(), method, share)
    assert gradients(run) == pytest.approx([10 * spent, 20 * spent, 30 * spent])
    both = cost([run, run])
    assert both.gradients == pytest.approx(60 * spent) and both.seconds == pytest.approx(0.6)


def test_auto_costs_its_windows() -> None:
    """Of 300 batches the 41st, 93rd, 160th and 247th end a window, each for 6 products more."""
    run = measured(record(), "auto", None)
    longer = tuple(dataclasses.replace(epoch, step=10 * epoch.step) for epoch in run.epochs)
    assert gradients(dataclasses.replace(run, epochs=longer)) == pytest.approx(
        [100 + 12 / 3, 200 + 18 / 3, 300 + 24 / 3]
    )


def test_a_miss_costs_as_far_as_it_came() -> None:
    assert cost([record(diverged_at=14)]).gradients == 14.0
    assert cost([record("red-sgd", None, diverged_at=4)]).gradients == 8.0


LINE = Line("sgd", "sgd", Wish("digits-mlp", scale="small", epochs=15), (0.1, 1.0))
FREE = Line("red-sgd", "red-sgd", Wish("digits-mlp", scale="small", epochs=15))
FIGURE = Figure("fig2", "a title", "a claim.", (Panel("digits", (FREE, LINE)),))


def synthetic() -> dict[str, RunRecord]:
    """The runs of a figure with a grid of two pairs, of which the second is a miss."""
    good, bad = LINE.tuning()
    found = [dataclasses.replace(record(), config=good), dataclasses.replace(record(diverged_at=14), config=bad)]
    found += [dataclasses.replace(record(final=0.01 * (1 + config.seed)), config=config) for config in LINE.runs(good)]
    found += [
        measured(dataclasses.replace(record("red-sgd", None), config=config), "red-sgd", 1.0) for config in FREE.runs()
    ]
    return {run.key: run for run in found}


def test_a_tuned_line_begins_where_its_grid_ended() -> None:
    runs = synthetic()
    assert over_cost(LINE, runs, "gradients").x == pytest.approx([30 + 14 + 10, 30 + 14 + 20, 30 + 14 + 30])
    assert over_cost(FREE, runs, "gradients").x == pytest.approx([20, 40, 60])
    curve = over_epochs(line_runs(LINE, runs), "loss")
    assert (curve.low[-1], curve.mean[-1], curve.high[-1]) == pytest.approx((0.01, 0.02, 0.03))
    assert over_epochs((), "accuracy").x == ()


def _drawn(path: Path) -> bytes:
    """The file; of a vector graphic all but its numbers, whose last digit the solver of the layout does not repeat."""
    content = path.read_bytes()
    return re.sub(rb'(id="|url\(#|href="#)\w+|\d+\.\d+', rb"\1", content) if path.suffix == ".svg" else content


def test_a_figure_is_the_same_twice_and_needs_a_run(tmp_path: Path) -> None:
    runs = synthetic()
    first = write_figures([FIGURE], runs, tmp_path / "a")
    assert [path.name for path in first] == [
        "paper-fig2.png", "paper-fig2.svg", "paper-fig2-cost.png", "paper-fig2-cost.svg",
    ]  # fmt: skip
    second = write_figures([FIGURE], runs, tmp_path / "b")
    assert [_drawn(path) for path in first] == [_drawn(path) for path in second]
    assert write_figures([FIGURE], {}, tmp_path / "c") == []


def test_the_page_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "figures", lambda *_: {"fig2": FIGURE})
    runs = synthetic()
    page = text("small", runs, ())
    assert "| digits | red-sgd | nothing to choose | 0.0100 (0.0100–0.0100) |" in page
    assert (
        "|  | sgd | 0.1 (edge); 1 of 2 missed | 0.0200 (0.0100–0.0300) | 0.0220 (0.0110–0.0330) | 90.0 % | 44 + 30 |"
        in page
    )
    best = chosen(LINE, runs)
    assert best is not None
    few = {key: run for key, run in runs.items() if key != LINE.runs(best.config)[2].key}
    assert "(0.0100–0.0200, 2 of 3 seeds)" in text("small", few, ())
    lost = {key: run for key, run in runs.items() if run.config not in LINE.runs(best.config)}
    assert "|  | sgd | not measured yet |  |  |  |  |" in text("small", lost, ())
    for config in LINE.tuning():
        lost[config.key] = dataclasses.replace(record(diverged_at=3), config=config)
    assert "|  | sgd | every pair of the grid diverged |" in text("small", lost, ())
    assert "Not measured yet." in text("small", {}, ())


def test_times_are_ratios_within_a_round() -> None:
    sgd = TimeRow("mnist-lenet", "small", "sgd", [1.0, 2.0, 4.0], 78)
    red = TimeRow("mnist-lenet", "small", "red-sgd", [2.0, 3.0, 8.0], 78)
    assert ratio(red, sgd) == 2.0
    page = text("small", {}, (sgd, red))
    assert "| mnist-lenet | 1.00 (1.00) |  | 2.00 (1.43) |" in page


def test_times_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "SOURCE", {"digits-mlp": (1.0, 1.0, 1.0, 1.0)})
    said: list[str] = []
    assert times.time_rows(times_store(tmp_path), "small", said.append, data_dir=None)
    rows = times_store(tmp_path).read()
    assert [row.method for row in rows] == list(times.METHODS) and len(said) == 1
    assert all(len(row.seconds) == 5 and min(row.seconds) > 0.0 for row in rows)
    assert times.time_rows(times_store(tmp_path), "small", said.append, data_dir=None) and len(said) == 1
    assert not times.time_rows(times_store(tmp_path / "other"), "small", said.append, data_dir=None, deadline=0.0)


def test_the_committed_page_is_that_of_its_stores() -> None:
    runs = read_runs(STORE)
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    assert page == text("small", runs, times_store(STORE).read())
    for figure in plan.figures("small").values():
        drawn = any(line_runs(line, runs) for panel in figure.panels for line in panel.lines)
        for ending in ("", "-cost"):
            for kind in ("png", "svg"):
                assert (FIGURES / f"paper-{figure.name}{ending}.{kind}").exists() == drawn


def test_the_committed_stores_are_small() -> None:
    assert sum(path.stat().st_size for path in STORE.glob("*.jsonl*")) < 10_000_000
