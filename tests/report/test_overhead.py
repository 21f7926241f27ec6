"""The page and the figure of the overhead come from its rows alone."""

from __future__ import annotations

from pathlib import Path

from curvestep.bench.overhead.row import Row, RowStore
from curvestep.report.overhead import page, write_figures

ROWS = (
    Row("cpu", "net", "RescaledSGD", "exact, per sample", "SGD", 5, 1.4, 1.5, 1.75, 2.0, 1.6, 1.6, revision="ab" * 20),
    Row("cpu", "net", "double backward", "exact, batch", "SGD", skipped="not differentiable twice"),
    Row("cpu", "GPT, width 64", "RescaledAdam", "-", "AdamW", 5, 1.0, 1.25, 2.0, axis="width", value=64),
    Row("cpu", "GPT, width 128", "RescaledAdam", "-", "AdamW", 5, 1.0, 1.5, 2.0, axis="width", value=128),
    Row("gpu", "net", "LQA", "two more losses", "SGD", 5, 1.1, 1.2, 1.3),
)


def test_page() -> None:
    text = page(ROWS, {"cpu": {"torch": "2.13.0"}}, "figures")
    assert "## cpu\n\ntorch 2.13.0, float32, revision ababababab.\n" in text
    assert "![ratios of times](figures/overhead.png)" in text and "(figures/overhead-2.png)" in text
    assert "| RescaledSGD | exact, per sample | SGD | 1.50 | 1.40 – 1.75 | 2.00 | 1.60 | 1.60 |" in text
    assert "- double backward: not differentiable twice." in text
    assert "| width | 64 | 128 |\n|---|--:|--:|\n| RescaledAdam | 1.25 | 1.50 |" in text
    assert "| LQA | two more losses | SGD | 1.20 | 1.10 – 1.30 | – | – | – |" in text
    assert text.count("### net") == 2
    assert "| time | net |\n|---|--:|\n| RescaledSGD | 1.50 |\n| double backward | – |\n" in text


def test_figures_are_the_same_for_the_same_rows(tmp_path: Path) -> None:
    first, again = write_figures(ROWS, tmp_path / "a"), write_figures(ROWS, tmp_path / "b")
    assert [path.name for path in first] == ["overhead.png", "overhead.svg", "overhead-2.png", "overhead-2.svg"]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_committed_page_is_that_of_its_rows() -> None:
    root = Path(__file__).resolve().parents[2]
    store = RowStore(root / "benchmarks" / "overhead")
    committed = root / "docs" / "overhead.md"
    assert committed.exists() == bool(store.read())
    if committed.exists():
        assert committed.read_text(encoding="utf-8") == page(store.read(), store.environments(), "figures")
