"""`python -m benchmarks fuzz`: random programs under the engine, by the hour."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import typer

from benchmarks import options
from benchmarks.fuzz.row import FuzzRow
from benchmarks.fuzz.row import page as document
from benchmarks.repository import DOCS, ROOT, STORES, rows, write


def fuzz(
    render: options.Render = False,
    generator: Annotated[Literal["chains", "layouts"], typer.Option(help="What draws the programs.")] = "chains",
    seed: Annotated[int, typer.Option(help="Of the generator.")] = 0,
    cases: Annotated[int, typer.Option(help="Stop at this case, those of the store included.")] = 100_000,
    hours: Annotated[float, typer.Option(help="Stop after so many hours.")] = 2.0,
    jobs: options.Jobs = 2,
    out: options.Out = STORES / "fuzz",
    page: options.Page = DOCS / "fuzzing.md",
) -> None:
    """Compare the engine with its truths on random programs; print what it gets wrong, and end with 1."""
    store = rows(out, FuzzRow)
    new: list[str] = []
    if not render:
        from benchmarks.fuzz.run import run

        store.open()
        new = run(store, generator, seed, digest(), cases, hours, jobs)
    write(page, document(store.read()))
    if new:
        raise typer.Exit(1)


def digest() -> str:
    """Eight digits that change with any file of the engine."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "src" / "curvestep" / "engine").rglob("*.py")):
        found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:8]
