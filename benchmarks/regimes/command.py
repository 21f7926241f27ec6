"""`python -m benchmarks regimes`: the experiments on what the source leaves open."""

from __future__ import annotations

from benchmarks import options
from benchmarks.regimes import page as report
from benchmarks.regimes.figure import write_figure
from benchmarks.regimes.plan import EXPERIMENTS
from benchmarks.regimes.row import RegimeRow
from benchmarks.repository import DOCS, STORES, rows, shown, write
from curvestep.bench.names import several
from curvestep.cli.options import DataDir, Threads
from curvestep.cli.refusing import error_console


def regimes(
    only: options.Only = "",
    render: options.Render = False,
    afresh: options.Afresh = False,
    data_dir: DataDir = None,
    threads: Threads = 1,
    out: options.Out = STORES / "regimes",
    page: options.Page = DOCS / "regimes.md",
) -> None:
    """Run the experiments on overshoot, ReLU, small batches and momentum; what is in the store is not repeated."""
    experiments = several("experiment", only, EXPERIMENTS)
    store = rows(out, RegimeRow)
    if not render:
        from benchmarks.regimes.execute import run_regimes

        run_regimes(experiments, store, error_console().print, data_dir=data_dir, threads=threads, afresh=afresh)
    found = report.verdicts(store.read())
    written = write_figure(store.read(), page.parent / "figures" / "regimes")
    for verdict in found:
        print(f"{verdict.claim}: {verdict.word}")
    write(page, report.page(found, "figures/regimes.png"))
    print(shown(written[0]))
