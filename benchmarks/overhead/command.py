"""`python -m benchmarks overhead`: what a measured step costs."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer

from benchmarks import options
from benchmarks.overhead import page as report
from benchmarks.overhead.cases import Set
from benchmarks.overhead.row import Machine, OverheadRow
from benchmarks.repository import DOCS, STORES, rows, shown, write
from curvestep.bench.errors import SettingError, StoreError
from curvestep.bench.store import Store
from curvestep.cli.options import Device, Threads
from curvestep.cli.refusing import error_console

_PARTS = "parts of names, separated by commas, or by semicolons where a part has a comma"
_SECONDS = {"quick": 1.0, "growth": 1.0, "cuda": 0.5}  # a step on an accelerator takes some hundredths


class _Lines:
    """Says each row in one line on the error stream."""

    def __init__(self) -> None:
        self.console = error_console()

    def found(self, row: OverheadRow, *, stored: bool) -> None:
        """A row is in the store."""
        said = row.skipped or f"{row.median:.2f} ({row.low:.2f} – {row.high:.2f})"
        self.console.print(f"{row.subject}  {row.method}: {said}" + ("  (stored)" if stored else ""))

    def left(self, rows: int) -> None:
        """Time is up."""
        self.console.print(f"Time is up: {rows} rows are left for the same command, which goes on from here.")


def overhead(
    selection: Annotated[
        str,
        typer.Option(
            "--set",
            help="quick: two networks; standard; full: every variant on every network of a processor; compiled: the "
            "steps that compile; growth: width, depth, batch and length of a GPT; cuda. "
            "Without it: standard, or cuda there.",
        ),
    ] = "",
    networks: Annotated[str, typer.Option(help=f"Only these: {_PARTS}.")] = "",
    variants: Annotated[str, typer.Option(help=f"Only these: {_PARTS}.")] = "",
    seconds: Annotated[
        float | None,
        typer.Option(help="For the pairs of a row, three at least. Without it: 2; 1 for quick and growth; ½ for cuda."),
    ] = None,
    within: Annotated[float | None, typer.Option(help="Minutes after which no further row is begun.")] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Measure rows again whose source has changed, or that were disturbed.")
    ] = False,
    processor_time: Annotated[
        bool,
        typer.Option(
            "--processor-time",
            help="Take the time that one processor spends on a step, which other work on the machine does not change. "
            "Needs --threads 1; the rows are those of a machine of their own.",
        ),
    ] = False,
    afresh: options.Afresh = False,
    render: options.Render = False,
    device: Device = "cpu",
    threads: Threads = None,
    out: options.Out = STORES / "overhead",
    page: options.Page = DOCS / "overhead.md",
) -> None:
    """Measure what a step costs, over a plain step; rows that are in the store are not measured again."""
    if selection and selection not in get_args(Set):
        raise SettingError(f"--set is one of {', '.join(get_args(Set))}; {selection!r} was given.")
    if seconds is not None and not seconds > 0.0:
        raise SettingError(f"--seconds is a number above 0, {seconds:g} was given.")
    if within is not None and not within > 0.0:
        raise SettingError(f"--within is a number of minutes above 0, {within:g} was given.")
    if processor_time and (threads != 1 or device != "cpu"):
        raise SettingError(
            "--processor-time is that of one thread on a processor, and several would be added up; add --threads 1 and "
            "leave --device out."
        )
    store, machines = rows(out, OverheadRow), Store(out / "machines.jsonl", Machine)
    if not render:
        from benchmarks.overhead.run import measure_all
        from benchmarks.overhead.selection import rows_of
        from curvestep.bench.runner import resolve_device

        found = resolve_device(device)
        size: Any = selection or ("cuda" if found.type == "cuda" else "standard")
        if size == "cuda" and found.type != "cuda":
            raise SettingError(f"--set cuda needs an accelerator, {found.type} was given; add --device cuda.")
        measure_all(
            rows_of(size, networks, variants),
            store,
            machines,
            _Lines(),
            device=found,
            seconds=seconds if seconds is not None else _SECONDS.get(size, 2.0),
            threads=threads,
            again="all" if afresh else "stale" if stale else "none",
            within=None if within is None else 60.0 * within,
            by_processor=processor_time,
        )
    held = store.read()
    if not held:
        raise StoreError(f"There are no rows in {shown(out)}; `python -m benchmarks overhead` measures some.")
    environments = {machine.machine: machine.environment for machine in machines.read()}
    figures = page.parent / "figures"
    written = report.write_figures(held, figures)
    write(page, report.page(held, environments, figures.name if written else ""))
    for path in written[::2]:
        print(shown(path))
