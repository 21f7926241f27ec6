"""`python -m benchmarks sensitivity`: how much the one number of each method matters."""

from __future__ import annotations

from benchmarks import options
from benchmarks.overhead.row import Machine
from benchmarks.repository import DOCS, STORES, rows, shown, write
from benchmarks.sensitivity import page as report
from benchmarks.sensitivity.figure import write_figure
from benchmarks.sensitivity.plan import WISHES
from benchmarks.sensitivity.row import SensitivityRow
from curvestep.bench.names import several
from curvestep.bench.store import Store
from curvestep.cli.options import DataDir, Threads
from curvestep.cli.refusing import error_console


def sensitivity(
    only: options.Only = "",
    render: options.Render = False,
    afresh: options.Afresh = False,
    data_dir: DataDir = None,
    threads: Threads = 1,
    out: options.Out = STORES / "sensitivity",
    page: options.Page = DOCS / "sensitivity.md",
) -> None:
    """Vary the one number of every method over nine decades; what is in the store is not repeated."""
    tasks = several("task", only, WISHES)
    store, machines = rows(out, SensitivityRow), Store(out / "machines.jsonl", Machine)
    if not render:
        from benchmarks.sensitivity.execute import make_runs

        told = error_console().print
        make_runs(tasks, store, machines, told, data_dir=data_dir, threads=threads, afresh=afresh)
    held = store.read()
    written = write_figure(held, page.parent / "figures" / "sensitivity")
    write(page, report.page(held, machines.read(), "figures/sensitivity.png"))
    print(shown(written[0]))
