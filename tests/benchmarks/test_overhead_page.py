"""The page and the figures of the overhead come from its rows alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.overhead import price, targets, windows
from benchmarks.overhead.page import page, write_figures
from benchmarks.overhead.row import Machine, OverheadRow
from benchmarks.repository import DOCS, STORES, rows
from curvestep.bench.store import Store

VGG, MLP = "VGG11, softplus, B64", "MLP 784-300-100-10, B256"


def row(
    method: str, case: str, median: float, *, memory: float = 1.0, batch: int = 64, machine: str = "cpu"
) -> OverheadRow:
    return OverheadRow(machine, case, method, "-", "SGD", 5, median - 0.1, median, median + 0.2, memory, batch=batch)


ROWS = (
    replace(
        row("RescaledSGD", "net", 1.5, memory=2.0),
        gives="exact, per sample", products=1.6, predicted=1.6, revision="ab" * 20, error=1.2e-7, error_per_sample=4e-6,
        waited=0.3,
    ),
    OverheadRow("cpu", "net", "double backward", "exact, batch", "SGD", skipped="not differentiable twice"),
    replace(row("plain SGD", "net", 1.0), compile_seconds=12.4, waited=0.01),
    replace(row("GeN", "GPT, width 64", 1.25), axis="width", value=64),
    replace(row("GeN", "GPT, width 128", 1.5), axis="width", value=128),
    replace(row("RescaledSGD", "GPT, width 128", 1.75), axis="width", value=128),
    row("LQA", "net", 1.2, machine="gpu"),
)  # fmt: skip


def test_page() -> None:
    text = page(ROWS, {"cpu": {"torch": "2.13.0"}}, "figures")
    assert "## cpu\n\ntorch 2.13.0, float32, revision ababababab. In 1 of 2 rows other work was in the way" in text
    assert "![ratios of times](figures/overhead.png)" in text and "(figures/overhead-2.png)" in text
    assert "![ratios of times by size](figures/overhead-growth.png)" in text and "overhead-2-growth" not in text
    cells = "exact, per sample | SGD | 1.50° | 1.40 – 1.70 | 2.00 | 1.60 | 1.60 | 1e-07 | 4e-06 | – |"
    assert f"| RescaledSGD | {cells}" in text
    assert "| plain SGD | - | SGD | 1.00 | 0.90 – 1.20 | 1.00 | – | – | – | – | 12 s |" in text
    assert "- double backward: not differentiable twice." in text
    assert "| width | 64 | 128 |\n|---|--:|--:|\n| RescaledSGD | – | 1.75 |\n| GeN | 1.25 | 1.50 |" in text
    assert "| LQA | - | SGD | 1.20 | 1.10 – 1.40 | 1.00 | – | – | – | – |\n" in text
    assert text.count("### net") == 2
    assert "| time | net |\n|---|--:|\n| plain SGD | 1.00 |\n| RescaledSGD | 1.50° |\n| double backward | – |\n" in text
    assert "### Targets" not in text


def test_an_undisturbed_page_says_so() -> None:
    assert "In none of the 1 rows was other work in the way." in page([replace(ROWS[0], waited=0.0)], {})
    assert "was not noted" in page([replace(ROWS[0], waited=None)], {})
    text = page([replace(ROWS[0], waited=0.0, machine="cpu, 1 thread, processor time")], {})
    assert "Times are those of the processor" in text and "In none" not in text


def test_targets_are_judged() -> None:
    rows = [
        row("RescaledSGD", VGG, 1.75, memory=2.1),
        row("RescaledSGD, compiled", VGG, 1.2),
        row("plain SGD, compiled", VGG, 0.6),
        row("Auto", VGG, 1.11, memory=1.3),
        replace(row("RescaledSGD, memory split", VGG, 2.3, memory=1.1), error_per_sample=2e-4),
        replace(row("RescaledSGD", MLP, 1.5), error_per_sample=1e-6),
    ]
    text = targets.table(rows, on_accelerator=False)
    exact = "exact, every step, whole batch: time"
    assert f"| {exact} | {VGG} | 1.75 | 1.75 | held |" in text
    assert f"| {exact} | GPT 4×128, T64, B16 | 2.00 | – | not measured |" in text
    assert f"| exact, compiled, over a compiled plain step: time | {VGG} | 1.75 | 2.00 | **not held** |" in text
    assert f"| the default: time | {VGG} | 1.10 | 1.11 | **not held** |" in text
    assert f"| exact: memory | {VGG} | 2.00 | 2.10 | **not held** |" in text
    assert f"| the default: memory | {VGG} | 1.30 | 1.30 | held |" in text
    assert f"| exact, memory split: memory | {VGG} | 1.15 | 1.10 | held |" in text
    assert f"| largest error of a sample | {VGG} | 1.0e-04 | 2.0e-04 | **not held** |" in text
    assert f"| largest error of a sample | {MLP} | 1.0e-04 | 1.0e-06 | held |" in text
    assert "5 of the 9 that were measured are held." in text
    assert targets.table(rows, on_accelerator=True) == ""
    assert targets.table(rows, on_accelerator=False) in page(rows, {})


def test_times_of_disturbed_rows_are_not_judged() -> None:
    rows = [replace(row("RescaledSGD", VGG, 1.2, memory=1.9), waited=0.5)]
    text = targets.table(rows, on_accelerator=False)
    assert f"time | {VGG} | 1.75 | – | not measured |" in text and f"memory | {VGG} | 2.00 | 1.90 | held |" in text
    assert price.price(rows[0]) is None and price.price(replace(rows[0], waited=0.01)) is not None


def test_an_accelerator_has_targets_of_its_own() -> None:
    rows = [row("RescaledSGD", "VGG11, softplus, B256", 1.61), row("Auto", "GPT 12×768, T1024, B8", 1.04)]
    text = page(rows, {"cpu": {"accelerator": "a GPU"}})
    assert "VGG11, softplus, B256 | 1.60 | 1.61 | **not held** |" in text
    assert "GPT 12×768, T1024, B8 | 1.05 | 1.04 | held |" in text


def test_the_default_s_runs_follow_from_its_two_kinds_of_call() -> None:
    """A window's end at five plain steps and other calls at 1.1: 4 of 300 and 8 of 1,000 calls are windows' ends."""
    own = replace(row("Auto", VGG, 1.16), usual=1.1, rare=5.0)
    assert windows.cost(own, 300) == pytest.approx(1.1 + 4 * 3.9 / 300)
    assert windows.cost(own, 1000) == pytest.approx(1.1 + 8 * 3.9 / 1000)
    assert windows.cost(row("Auto", VGG, 1.16), 300) is None
    text = page([own], {})
    assert "`Auto` measures at the ends of its windows of steps: 4 of the first 300 calls" in text
    assert f"| Auto | {VGG} | 5.00 | 1.10 | 1.15 | 1.13 | 1.03 |" in text
    assert f"\nNot measured here: {MLP}; VGG11, softplus, B256; ResNet-18" in text
    assert windows.section([row("RescaledSGD", VGG, 1.6)]) == ""


def test_prices() -> None:
    """Over measured steps and numbers: a quarter of 64 samples every 16 steps is 16 numbers a measured step."""
    found = price.price(row("CeilingAdam, every 16th step", VGG, 1.1))
    assert found is not None and found.step == pytest.approx(1.6) and found.number == pytest.approx(0.1)
    apart = price.price(replace(row("Auto", VGG, 1.1), usual=1.05, rare=3.5))
    assert apart is not None and apart.step == apart.number == pytest.approx(2.5)
    exact = price.price(row("RescaledSGD", VGG, 1.64))
    assert exact is not None and exact.step == pytest.approx(0.64) and exact.number == pytest.approx(0.01)
    batch = price.price(row("double backward", VGG, 3.0))
    assert batch is not None and batch.step == batch.number == pytest.approx(2.0)
    assert price.price(row("plain SGD", VGG, 1.0)) is None
    assert price.price(row("RescaledSGD", VGG, 1.64, batch=0)) is None


def test_the_sentence_says_where_others_are_cheaper() -> None:
    rows = [
        row("RescaledSGD", VGG, 1.64),
        row("RescaledSGD, Gauss-Newton", VGG, 1.5),
        row("LQA", VGG, 1.6),
        row("double backward", VGG, 3.0),
        row("BackPACK, Gauss-Newton", VGG, 1.6),
        row("RescaledSGD", MLP, 1.5),
        row("curvlinops", MLP, 3.0),
    ]
    text = price.section(rows)
    assert f"| per measured step | {VGG} | {MLP} |" in text and "| double backward | 2.00 | – |" in text
    assert "| RescaledSGD | 0.01 | 0.0078 |" in text
    assert (
        "Of 4 comparisons per measured step, other variants are dearer in 3. "
        f"Not dearer: LQA on {VGG} (0.60 against 0.64).\n"
    ) in text
    assert "Of 4 comparisons per number, other variants are dearer in all.\n" in text


def test_figures_are_the_same_for_the_same_rows(tmp_path: Path) -> None:
    first, again = write_figures(ROWS, tmp_path / "a"), write_figures(ROWS, tmp_path / "b")
    names = ["overhead.png", "overhead.svg", "overhead-growth.png", "overhead-growth.svg"]
    assert [path.name for path in first] == [*names, "overhead-2.png", "overhead-2.svg"]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_committed_page_is_that_of_its_rows() -> None:
    machines = Store(STORES / "overhead" / "machines.jsonl", Machine).read()
    environments = {each.machine: each.environment for each in machines}
    held = rows(STORES / "overhead", OverheadRow).read()
    assert (DOCS / "overhead.md").read_text(encoding="utf-8") == page(held, environments, "figures")
