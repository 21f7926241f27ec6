"""`python -m benchmarks report`: what all stores say, as a page of docs/ and as one file in HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import options
from benchmarks.evidence.document import document
from benchmarks.evidence.gather import counts, gather
from benchmarks.evidence.web import web_page
from benchmarks.repository import DOCS, FIGURES, ROOT, STORES, write

Stores = Annotated[Path, typer.Option(help="Folder of the stores.", show_default=False)]
Web = Annotated[Path, typer.Option("--html", help="The file in HTML to write.", show_default=False)]
Figures = Annotated[Path, typer.Option(help="Folder of the figures that are shown.", show_default=False)]


def report(
    render: options.Render = True,
    stores: Stores = STORES,
    figures: Figures = FIGURES,
    page: options.Page = DOCS / "evidence.md",
    web: Web = ROOT / "build" / "evidence.html",
) -> None:
    """Write what all stores say together: verdicts, figures, tables; no run is made."""
    del render  # it never measures
    evidence = gather(stores)
    print(", ".join(f"{count} {word}" for word, count in counts(evidence.claims).items()))
    write(page, document(evidence, figures, whole=False))
    write(web, web_page(document(evidence, figures, whole=True), figures))
