"""Put the tables of the committed run stores into the pages that quote them, and draw their figures: `make readme`.

A test compares the committed page with what this would write, so no number in it can differ from the stores.
"""

from __future__ import annotations

import re
from pathlib import Path

from curvestep.bench.store import RunStore
from curvestep.report.alike import alike_table
from curvestep.report.figure import write_figures
from curvestep.report.series import panels
from curvestep.report.table import markdown_table
from curvestep.report.versus import versus_table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures"
PAGES = (PAGE, *(ROOT / "docs" / name for name in ("auto.md", "all-methods.md", "measuring.md")))
_SLOT = re.compile(r"<!-- table (?P<store>\S+) -->\n.*?<!-- end -->", re.DOTALL)
_VERSUS = re.compile(
    r"<!-- versus (?P<method>\S+) (?P<rival>\S+) (?P<outcome>\S+) (?P<stores>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL
)
_ALIKE = re.compile(
    r"<!-- alike (?P<methods>\S+) (?P<reference>\S+) (?P<stores>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL
)


def filled(text: str) -> str:
    """The page with every table made anew from the store that its slot names."""

    def table(slot: re.Match[str]) -> str:
        found = panels(RunStore.at(ROOT / slot["store"]).read())
        tables = [markdown_table(panel).split("\n", 2)[2].strip() for panel in found]
        if len(found) > 1:
            tables = [f"**{panel.subtitle}**\n\n{each}\n" for panel, each in zip(found, tables, strict=True)]
        body = "\n".join(tables).strip()
        return f"<!-- table {slot['store']} -->\n{body}\n<!-- end -->"

    def versus(slot: re.Match[str]) -> str:
        problems = {Path(name).name: RunStore.at(ROOT / name).read() for name in slot["stores"].split()}
        head = slot[0].split("\n", 1)[0]
        return f"{head}\n{versus_table(problems, slot['method'], slot['rival'], slot['outcome'])}\n<!-- end -->"

    def alike(slot: re.Match[str]) -> str:
        problems = {Path(name).name: RunStore.at(ROOT / name).read() for name in slot["stores"].split()}
        head = slot[0].split("\n", 1)[0]
        return f"{head}\n{alike_table(problems, slot['methods'].split(','), slot['reference'])}\n<!-- end -->"

    return _ALIKE.sub(alike, _VERSUS.sub(versus, _SLOT.sub(table, text)))


def stores(text: str) -> list[str]:
    """The run stores that the page quotes."""
    return [slot["store"] for slot in _SLOT.finditer(text)]


def figure_name(store: str) -> str:
    """The figure of a store: `benchmarks/all/mnist-lenet` → `all-mnist-lenet`."""
    return "-".join(Path(store).parts[1:])


def main() -> None:
    """Write the pages and draw one pair of figures a store."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text), encoding="utf-8")
        for store in stores(text):
            write_figures(panels(RunStore.at(ROOT / store).read()), FIGURES / figure_name(store))


if __name__ == "__main__":
    main()
