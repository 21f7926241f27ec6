"""Put the tables of the committed run stores into the pages that quote them, and draw their figures.

A test compares the committed page with what this would write, so no number in it can differ from the stores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.comparisons.alike import alike_table
from benchmarks.comparisons.rates import write_rates
from benchmarks.comparisons.versus import versus_table
from benchmarks.evidence.gather import gather
from benchmarks.evidence.glance import glance
from benchmarks.repository import FIGURES, ROOT, write
from curvestep.bench.record import run_store
from curvestep.report.figure import write_figures
from curvestep.report.series import panels
from curvestep.report.table import markdown_table

#: The page whose table of a method beside a rival has a figure.
FRONT = "README.md"
_SLOT = re.compile(r"<!-- table (?P<store>\S+) -->\n.*?<!-- end -->", re.DOTALL)
_VERSUS = re.compile(
    r"<!-- versus (?P<method>\S+) (?P<rival>\S+) (?P<outcome>\S+) (?P<stores>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL
)
_ALIKE = re.compile(
    r"<!-- alike (?P<methods>\S+) (?P<reference>\S+) (?P<stores>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL
)
_LEAGUE = re.compile(r"<!-- league -->\n.*?<!-- end -->", re.DOTALL)
_EVIDENCE = re.compile(r"<!-- evidence (?P<groups>\S+) (?P<page>\S+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """The page with every table made anew from the store that its slot names."""

    def table(slot: re.Match[str]) -> str:
        found = panels(run_store(ROOT / slot["store"]).read())
        tables = [markdown_table(panel).split("\n", 2)[2].strip() for panel in found]
        if len(found) > 1:
            tables = [f"**{panel.subtitle}**\n\n{each}\n" for panel, each in zip(found, tables, strict=True)]
        body = "\n".join(tables).strip()
        return f"<!-- table {slot['store']} -->\n{body}\n<!-- end -->"

    def versus(slot: re.Match[str]) -> str:
        problems = {Path(name).name: run_store(ROOT / name).read() for name in slot["stores"].split()}
        head = slot[0].split("\n", 1)[0]
        return f"{head}\n{versus_table(problems, slot['method'], slot['rival'], slot['outcome'])}\n<!-- end -->"

    def alike(slot: re.Match[str]) -> str:
        problems = {Path(name).name: run_store(ROOT / name).read() for name in slot["stores"].split()}
        head = slot[0].split("\n", 1)[0]
        return f"{head}\n{alike_table(problems, slot['methods'].split(','), slot['reference'])}\n<!-- end -->"

    def league(slot: re.Match[str]) -> str:
        from benchmarks.league.page import glance

        return "\n".join([slot[0].split("\n", 1)[0], glance(), "<!-- end -->"])

    def evidence(slot: re.Match[str]) -> str:
        lines = glance(gather(), groups=slot["groups"].split(","), page=slot["page"])
        return "\n".join([slot[0].split("\n", 1)[0], *lines, "<!-- end -->"])

    text = _LEAGUE.sub(league, text)
    return _EVIDENCE.sub(evidence, _ALIKE.sub(alike, _VERSUS.sub(versus, _SLOT.sub(table, text))))


def stores(text: str) -> list[str]:
    """The run stores that the page quotes."""
    return [slot["store"] for slot in _SLOT.finditer(text)]


def figure_name(store: str) -> str:
    """The figure of a store: `benchmarks/stores/all/mnist-lenet` → `all-mnist-lenet`."""
    return "-".join(Path(store).parts[2:])


def write_pages(names: Iterable[str]) -> None:
    """Write the tables of these pages of the repository, and draw the figures of the stores that they quote.

    One pair a store with a table of its own, and where a page sets a method beside another's rates one for all of them.
    """
    for name in names:
        text = filled((ROOT / name).read_text(encoding="utf-8"))
        write(ROOT / name, text)
        for slot in _VERSUS.finditer(text):
            if name == FRONT:
                problems = {Path(each).name: run_store(ROOT / each).read() for each in slot["stores"].split()}
                write_rates(problems, slot["method"], slot["rival"], FIGURES / f"{slot['method']}-rates")
        for store in stores(text):
            write_figures(panels(run_store(ROOT / store).read()), FIGURES / figure_name(store))
