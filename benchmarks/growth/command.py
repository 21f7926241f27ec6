"""`python -m benchmarks growth`: how the cost of a measured step grows with the model."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks import options
from benchmarks.growth import page as report
from benchmarks.growth.figure import write_figure
from benchmarks.growth.row import ExchangeRow, GrowthRow
from benchmarks.overhead.row import Machine
from benchmarks.repository import DOCS, STORES, rows, shown, write
from curvestep.bench.errors import SettingError
from curvestep.bench.store import Store
from curvestep.cli.refusing import error_console


def growth(
    seconds: Annotated[float, typer.Option(help="For the rounds of a size; three are made at least.")] = 1.5,
    render: options.Render = False,
    afresh: options.Afresh = False,
    out: options.Out = STORES / "growth",
    page: options.Page = DOCS / "growth.md",
) -> None:
    """Measure a step on growing models, fit a model to it, and carry that further; what is stored is not repeated."""
    if not seconds > 0.0:
        raise SettingError(f"--seconds is a number above 0, {seconds:g} was given.")
    store, machines = rows(out, GrowthRow), Store(out / "machines.jsonl", Machine)
    exchanges = Store(out / "exchanges.jsonl", ExchangeRow)
    if not render:
        from benchmarks.growth.run import measure_growth

        measure_growth(store, exchanges, machines, error_console().print, seconds=seconds, afresh=afresh)
    held = store.read()
    machine = held[-1].machine if held else ""
    own = [row for row in held if row.machine == machine]
    written = write_figure(own, page.parent / "figures" / "growth")
    write(page, report.page(own, exchanges.read(), machines.read(), "figures/growth.png"))
    print(shown(written[0]))
