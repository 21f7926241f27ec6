"""Parts of the plan: some tasks, some methods, a coarse grid; runs and pages stay apart from the small ones."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.evidence.claims import mnist_verdicts
from benchmarks.paper import plan
from benchmarks.paper.cost import gradients
from benchmarks.paper.course import course
from benchmarks.paper.curves import tuning_cost
from benchmarks.paper.figure import write_figures
from benchmarks.paper.page import text
from benchmarks.paper.parts import MNIST, Part, mnist_panels, named_figures, of_methods, of_tasks
from benchmarks.paper.plan import Figure, Line, Panel
from benchmarks.paper.reach import reach
from benchmarks.paper.reading import READ
from benchmarks.paper.store import line_runs, read_runs
from benchmarks.repository import DOCS, FIGURES, STORES
from curvestep.bench.errors import SettingError
from curvestep.bench.record import EpochMetrics, RunRecord
from curvestep.bench.settings import LR_GRID, Wish
from tests.benchmarks.commands import refuse, run
from tests.benchmarks.evidence_runs import Course, made

STORE = STORES / "paper-scale"


def test_a_task_leaves_its_panels_and_a_method_its_lines() -> None:
    figures = plan.figures("paper")
    assert {name: len(each.panels) for name, each in of_tasks(figures, "mnist-lenet").items()} == {"fig2": 1}
    some = of_tasks(figures, "mnist-autoencoder, cifar100-vgg19")
    assert {name: [panel.title for panel in each.panels] for name, each in some.items()} == {
        "fig2": ["mnist-autoencoder", "cifar100-vgg19"],
        "fig3": ["cifar100-vgg19"],
        "fig6": ["ℓ from 1", "ℓ from 0.1"],
        "fig7": ["cifar100-vgg19"],
        "fig9": ["mnist-autoencoder, λ = 1e-07", "mnist-autoencoder, λ = 0.0001"],
    }
    assert of_tasks(figures, "") == figures == of_methods(figures, "")
    red = of_methods(of_tasks(figures, "mnist-lenet"), "red-sgd,red-rmsprop")
    assert [line.label for line in red["fig2"].panels[0].lines] == ["red-sgd", "red-rmsprop"]


def test_where_no_line_is_left_a_sentence_says_where_there_is_one() -> None:
    left = of_tasks(plan.figures("small"), "mnist-lenet")
    assert named_figures(left, ["fig2", "fig3"], "mnist-lenet") == [left["fig2"]]
    assert named_figures(left, [], "mnist-lenet") == []
    with pytest.raises(SettingError, match=r"^There is no line of mnist-lenet in fig3; .* have one are fig2\.$"):
        named_figures(left, ["fig3"], "mnist-lenet")
    with pytest.raises(SettingError, match=r"^There is no task 'mnist'; did you mean mnist-lenet"):
        of_tasks(plan.figures("small"), "mnist")
    with pytest.raises(SettingError, match=r"^There is no method 'half-sgd'; .*the methods are red-sgd, red-rmsprop,"):
        of_methods(left, "half-sgd")


def test_the_coarse_grid_is_every_other_pair_and_half_as_long() -> None:
    whole, coarse = plan.figures("paper")["fig2"].panels[0], mnist_panels()[0]
    for line, thin in zip(whole.lines, coarse.lines, strict=True):
        if not line.tuned:
            assert thin == line
            continue
        assert thin.rates == tuple(5.0 * 10.0**power for power in range(-5, 2)) and set(thin.rates) < set(LR_GRID)
        assert thin.decays == (0.98, 1.0) and (line.tuning_epochs, thin.tuning_epochs) == (40, 20)
        pair = thin.tuning()[3]
        assert [run.key for run in thin.runs(pair)] == [run.key for run in line.runs(pair)], "the runs to the end"
        assert not {run.key for run in thin.tuning()} & {run.key for run in line.tuning()}
    other = plan.figures("paper", "cpu", "coarse")["fig8"].panels[0].lines[2]
    assert other.decays == (0.99, 1.0), "a decay of 1 is always among them"


def test_no_run_is_one_of_both_scales() -> None:
    keys: list[set[str]] = []
    for scale in plan.SCALES:
        lines = [line for each in plan.figures(scale).values() for panel in each.panels for line in panel.lines]
        keys.append({config.key for line in lines for config in (line.tuning() or line.runs())})
    assert not keys[0] & keys[1]


def mnist_runs(seeds: int = 3, red: float = 0.1) -> dict[str, RunRecord]:
    """Runs of MNIST at the source's scale: of each grid the fourth pair is the best."""
    found: list[RunRecord] = []
    for line in mnist_panels()[0].lines:
        grid = line.tuning()
        found += [made(config, Course(loss=0.5 + abs(place - 3))) for place, config in enumerate(grid)]
        steps = [0.1 + 0.001 * epoch for epoch in range(200)]
        ends = line.runs(grid[3] if grid else None)[:seeds]
        found += [made(config, Course(loss=0.1 if grid else red, step=steps)) for config in ends]
    return {run.key: run for run in found}


@pytest.mark.parametrize(("red", "held"), [(0.11, True), (0.12, False)])
def test_the_verdicts_on_mnist(red: float, held: bool) -> None:
    training, step = mnist_verdicts(mnist_runs(red=red))
    assert training.held is held and step.held is True
    assert "Held if on mnist-lenet the mean" in training.rule and "Level in" in training.remark
    few = mnist_verdicts(mnist_runs(seeds=1, red=red))
    assert [verdict.held for verdict in few] == [None, None]


def test_the_page_of_a_part_says_what_was_run_and_what_not() -> None:
    runs = mnist_runs(seeds=2)
    page = text("paper", runs, (), part=MNIST)
    assert "--scale paper --tasks mnist-lenet --grid coarse --page docs/paper-mnist.md`" in page
    assert "d of 0.98 and 1, 14 pairs for each tuned method" in page
    assert "| mnist-lenet | sgd | 14 of 14 | 2 of 3 |" in page and "| mnist-lenet | red-sgd | – | 2 of 3 |" in page
    assert "| first | 5 % | 10 % | 25 % | 50 % | 75 % | 100 % |" in page
    assert "(figures/paper-mnist-fig2-cost.png)" in page and "Table 3" not in page and "## Figure 3" not in page
    none = text("paper", {}, (), part=MNIST)
    assert "| mnist-lenet | auto | – | not run |" in none and "Not measured yet." in none


def test_the_table_says_when_red_is_where_a_tuned_method_ends() -> None:
    figure = MNIST.figures("paper")["fig2"]
    lines = {line.label: line for line in figure.panels[0].lines}
    runs = mnist_runs()
    for seed, config in enumerate(lines["red-sgd"].runs()[:2]):  # the third stays at 0.1 throughout
        falling = [1.0 / epoch + seed for epoch in range(1, 201)]
        runs[config.key] = made(config, Course(loss=falling))
    grid = lines["sgd"].tuning()[3]
    for config in lines["sgd"].runs(grid):
        runs[config.key] = made(config, Course(loss=0.55 if config.seed < 2 else None))
    page = "\n".join(reach(figure, runs))
    # RED's mean over two seeds, 1/e + 1/2, is at 0.55 after epoch 20, of 10 gradients each.
    assert "| mnist-lenet | red-sgd | sgd | 2 | 0.505 | 0.550 | 0.92 | 20 | 200 | 420 + 30 |" in page
    assert "| mnist-lenet | red-sgd | rmsprop | 3 | 0.370 | 0.100 | 3.70 | not once |  | 420 + 30 |" in page
    assert "| mnist-lenet | red-rmsprop | adamw | 3 | 0.100 | 0.100 | 1.00 | 1 | 10 | 420 + 30 |" in page
    assert reach(figure, {}) == []
    table = "\n".join(course(figure, runs))
    assert "| mnist-lenet | red-sgd | 1.033 | 0.433 | 0.400 | 0.380 | 0.373 | 0.371 | 0.370 |" in table
    assert "| mnist-lenet | sgd |  |  |  |  |  |  |  |" in table, "a seed that diverged leaves no mean"


def test_figures_begin_with_the_name_of_their_page(tmp_path: Path) -> None:
    line = mnist_panels()[0].lines[0]
    runs = {config.key: made(config, Course()) for config in line.runs()}
    figure = dataclasses.replace(MNIST.figures("paper")["fig2"], quantities=("test_loss",))
    written = write_figures([figure], runs, tmp_path, "paper-mnist")
    assert [path.name for path in written if path.suffix == ".png"] == [
        "paper-mnist-fig2.png",
        "paper-mnist-fig2-cost.png",
    ]


def test_a_part_has_a_page_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of one part is drawn on its page, and leaves the page and the figures of the whole as they are."""
    monkeypatch.chdir(tmp_path)
    selected = ("--scale", "paper", "--tasks", "mnist-lenet")
    run("paper", "fig2", *selected, "--render", "--out", "none", "--page", "docs/a.md")
    assert [path.name for path in Path("docs").iterdir()] == ["a.md"]
    page = Path("docs/a.md").read_text(encoding="utf-8")
    assert page == text("paper", {}, (), part=Part("mnist-lenet", "whole", "a"))
    assert "coarse" not in page


def test_methods_are_run_alone_and_the_page_has_the_others_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURVESTEP_CACHE", str(tmp_path / "cache"))
    wish = Wish("digits-mlp", scale="small", epochs=2, subset=128)
    lines = (Line("red-sgd", "red-sgd", wish), Line("auto", "auto", wish))
    figure = Figure("fig2", "a title", "a claim.", (Panel("digits", lines),))
    monkeypatch.setattr(plan, "figures", lambda *_: {"fig2": figure})
    run("paper", "fig2", "--methods", "red-sgd", "--out", "kept", "--page", "docs/part.md")
    said = capsys.readouterr()
    assert "fig2: 3 of 3 runs to make" in said.err and "docs/figures/part-fig2.png" in said.out
    assert {each.config.method for each in read_runs(Path("kept")).values()} == {"red-sgd"}
    assert "|  | auto | not measured yet |" in Path("docs/part.md").read_text(encoding="utf-8")
    run("paper", "fig2", "--methods", "auto", "--out", "kept", "--page", "docs/part.md")
    assert "fig2: 3 of 3 runs to make" in capsys.readouterr().err and len(read_runs(Path("kept"))) == 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--tasks", "mnist-lenet"),
            "The page docs/paper.md has all tasks and the whole grid; for a part",
        ),
        (("--scale", "paper", "--grid", "coarse"), "The page docs/paper-scale.md has all tasks and the whole grid;"),
        (("fig3", "--tasks", "mnist-lenet", "--page", "a.md"), "There is no line of mnist-lenet in fig3; the figures"),
        (
            ("fig2", "--methods", "half-sgd"),
            "There is no line of half-sgd in fig2; the figures",
        ),
        (("--tasks", "mnist", "--page", "a.md"), "There is no task 'mnist'; did you mean mnist-lenet"),
        (("table3", "--tasks", "mnist-lenet", "--page", "a.md"), "Table 3 compares all its tasks; leave out table3,"),
        (("--grid", "fine"), "--grid is one of whole, coarse; 'fine' was given."),
    ],
)
def test_refusals(
    arguments: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refuse(capsys, "paper", *arguments, "--out", "kept")
    assert list(tmp_path.iterdir()) == []


def test_the_committed_page_of_mnist_is_that_of_its_store() -> None:
    runs = read_runs(STORE)
    page = (DOCS / "paper-mnist.md").read_text(encoding="utf-8")
    assert page == text("paper", runs, (), part=MNIST)
    assert all(run.config.scale == "paper" and run.config.task == "mnist-lenet" for run in runs.values())
    for picture in re.findall(r"\(figures/([\w-]+)\.png\)", page):
        assert (FIGURES / f"{picture}.png").exists() and (FIGURES / f"{picture}.svg").exists()
    assert {"red-sgd", "red-rmsprop"} <= {line.label for line in mnist_panels()[0].lines if line_runs(line, runs)}


def test_the_reading_of_mnist_says_what_the_store_has() -> None:
    lines = {line.label: line for line in mnist_panels()[0].lines}
    sgd_red, rms_red, sgd = (line_runs(lines[label], read_runs(STORE))[0] for label in READ)
    for red, ratio in ((sgd_red, 0.36), (rms_red, 0.32)):
        assert red.config.seed == sgd.config.seed == 0 and red.last and sgd.last
        pairs = list(zip(red.epochs, sgd.epochs, strict=True))
        losses = [(own.train_eval_loss or 0.0) / (other.train_eval_loss or 1.0) for own, other in pairs]
        assert max(losses[1:]) < 1.0 and losses[-1] == pytest.approx(ratio, abs=0.01)
        behind = [(own.test_loss or 0.0) > (other.test_loss or 0.0) for own, other in pairs]
        assert all(behind[9:]) and not all(behind[8:9] + behind[7:8])
        assert red.last.test_loss == pytest.approx(0.0835, abs=5e-4)
        assert (red.last.test_accuracy or 0.0) - (sgd.last.test_accuracy or 0.0) == pytest.approx(0.00145, abs=1e-4)
        last = sgd.last.train_eval_loss or 0.0
        there = next(place for place, epoch in enumerate(red.epochs) if (epoch.train_eval_loss or 1.0) <= last)
        assert 3 * gradients(red)[there] < tuning_cost(lines["sgd"], read_runs(STORE)).gradients
    assert [lowest(run.epochs) for run in (sgd_red, rms_red, sgd)] == [(8, 0.061), (8, 0.06), (13, 0.059)]
    first, second = ([epoch.step_size or 0.0 for epoch in run.epochs] for run in (sgd_red, rms_red))
    assert (first.index(min(first)), first.index(max(first))) == (6, 65)
    assert min(first) == pytest.approx(0.65, abs=0.01) and max(first) == pytest.approx(240, abs=2)
    assert first[-1] == pytest.approx(100, rel=0.1)
    assert second.index(max(second)) == 31 and max(second) == pytest.approx(0.0033, abs=5e-5)
    assert second[0] == pytest.approx(0.0025, abs=5e-5) and 90 < max(second) / second[-1] < 130
    assert second[49] < second[0] and (second[7], min(second[:32])) == (min(second[:32]), pytest.approx(8e-4, abs=5e-5))


def lowest(epochs: Sequence[EpochMetrics]) -> tuple[int, float]:
    """The epoch of the lowest test loss, and that in three decimals."""
    losses = [epoch.test_loss or 0.0 for epoch in epochs]
    return 1 + losses.index(min(losses)), round(min(losses), 3)


def test_the_committed_store_of_mnist_is_small() -> None:
    assert sum(path.stat().st_size for path in STORE.glob("*.jsonl*")) < 3_000_000
