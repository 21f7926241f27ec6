"""Put the tables of the committed run stores into README.md, and draw its figures: `make readme`.

A test compares the committed page with what this would write, so no number in it can differ from the stores.
"""

from __future__ import annotations

import re
from pathlib import Path

from curvestep.bench.store import RunStore
from curvestep.report.figure import write_figures
from curvestep.report.series import panels
from curvestep.report.table import markdown_table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures"
_SLOT = re.compile(r"<!-- table (?P<store>\S+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """The page with every table made anew from the store that its slot names."""

    def table(slot: re.Match[str]) -> str:
        found = panels(RunStore.at(ROOT / slot["store"]).read())
        body = "\n".join(markdown_table(panel).split("\n", 2)[2].strip() for panel in found)
        return f"<!-- table {slot['store']} -->\n{body}\n<!-- end -->"

    return _SLOT.sub(table, text)


def stores(text: str) -> list[str]:
    """The run stores that the page quotes."""
    return [slot["store"] for slot in _SLOT.finditer(text)]


def main() -> None:
    """Write the page and draw one pair of figures a store."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(text), encoding="utf-8")
    FIGURES.mkdir(parents=True, exist_ok=True)
    for store in stores(text):
        write_figures(panels(RunStore.at(ROOT / store).read()), FIGURES / Path(store).name)


if __name__ == "__main__":
    main()
