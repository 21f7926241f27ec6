"""`curvestep bench`: what a step costs, and whether claims hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from curvestep.bench.errors import SettingError, StoreError
from curvestep.bench.overhead.row import RowStore
from curvestep.cli import options

if TYPE_CHECKING:
    from curvestep.bench.overhead.row import Row

_OVERHEAD = Path("benchmarks/overhead")


class _Lines:
    """Says each row in one line on the error stream."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def found(self, row: Row, *, stored: bool) -> None:
        """A row is in the store."""
        said = row.skipped or f"{row.median:.2f} ({row.low:.2f} – {row.high:.2f})"
        self.console.print(f"{row.subject}  {row.method}: {said}" + ("  (stored)" if stored else ""))


def overhead(
    quick: Annotated[bool, typer.Option("--quick", help="Two networks, one second a row.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Large batches too.")] = False,
    growth: Annotated[bool, typer.Option("--growth", help="Width, depth, batch and length of a GPT, instead.")] = False,
    networks: Annotated[str, typer.Option(help="Only these: parts of names, separated by commas.")] = "",
    ways: Annotated[str, typer.Option(help="Only these: parts of names, separated by commas.")] = "",
    seconds: Annotated[float | None, typer.Option(help="For the pairs of a row; three at least. [default: 4]")] = None,
    afresh: Annotated[bool, typer.Option("--afresh", help="Measure rows again that are in the store.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Measure nothing; write page and figures.")] = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    out: Annotated[Path, typer.Option(help="Folder of the rows.")] = _OVERHEAD,
    page: Annotated[Path | None, typer.Option(help="The page to write. [default: overhead.md in --out]")] = None,
) -> None:
    """Measure what a step costs, over a plain step; rows that are in the store are not measured again."""
    from curvestep.report import overhead as report

    if seconds is not None and not seconds > 0.0:
        raise SettingError(f"--seconds is a number above 0, {seconds:g} was given.")
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    store = RowStore(out)
    if not render:
        from curvestep.bench.overhead import subjects
        from curvestep.bench.overhead.measure import measure_all
        from curvestep.bench.overhead.ways import chosen_ways
        from curvestep.bench.runner import resolve_device

        found = resolve_device(device)
        size: subjects.Set = "quick" if quick else "full" if full else "cuda" if found.type == "cuda" else "standard"
        specs = subjects.growth() if growth else subjects.chosen(size, networks)
        # How cost grows is asked of the default and of the exact measurement alone.
        wanted = chosen_ways(ways or ("auto,rescaledadam" if growth else ""))
        measure_all(
            specs,
            [way for way in wanted if not growth or "¼" not in way.name],
            store,
            _Lines(),
            device=found,
            seconds=seconds if seconds is not None else 1.0 if quick else 4.0,
            threads=threads,
            afresh=afresh,
        )
    rows = store.read()
    if not rows:
        raise StoreError(f"There are no rows in {out}; `curvestep bench overhead` measures some.")
    document = page if page is not None else out / "overhead.md"
    figures = document.parent / "figures"
    document.parent.mkdir(parents=True, exist_ok=True)
    written = report.write_figures(rows, figures)
    text = report.page(rows, store.environments(), figures.name if written else "")
    document.write_text(text, encoding="utf-8")
    console = Console()
    for path in (out, document, *written[::2]):
        console.print(str(path), highlight=False, soft_wrap=True)
