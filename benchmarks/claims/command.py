"""`python -m benchmarks claims`: what the sources claim of their methods, run again."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from benchmarks import options
from benchmarks.claims import page as report
from benchmarks.claims import plan
from benchmarks.claims.look import Look, look_store
from benchmarks.repository import DOCS, STORES, write
from curvestep.bench.names import several
from curvestep.bench.record import run_store
from curvestep.bench.store import Store
from curvestep.cli.options import DataDir, Threads
from curvestep.cli.refusing import error_console
from curvestep.cli.watch import Watch


def claims(
    only: options.Only = "",
    render: options.Render = False,
    afresh: options.Afresh = False,
    data_dir: DataDir = None,
    threads: Threads = 1,
    jobs: options.Jobs = 1,
    out: options.Out = STORES / "claims",
    page: options.Page = DOCS / "claims.md",
) -> None:
    """Run the sources' claims again and say which hold; what is in the store is not repeated."""
    names = several("claim", only, plan.NAMES)
    looks, runs = look_store(out), run_store(out)
    if not render:
        if "line" in names:
            _search_lines(looks, data_dir, threads, afresh=afresh)
        configs = plan.interpolation_configs() if "interpolation" in names else ()
        configs += plan.recovery_configs() if "recovery" in names else ()
        if configs:
            from curvestep.bench.execute import execute

            with Watch(Console(stderr=True, soft_wrap=True), len(configs), live_steps=jobs == 1) as watch:
                execute(configs, runs, watch, data_dir=data_dir, threads=threads, jobs=jobs, afresh=afresh)
    found = report.verdicts(looks.read(), runs.read())
    for verdict in found:
        print(f"{verdict.claim}: {verdict.word}")
    write(page, report.page(found))


def _search_lines(store: Store[Look], data_dir: Path | None, threads: int | None, *, afresh: bool) -> None:
    """The line searches beside LQA's steps."""
    from benchmarks.claims.line import measure_line
    from curvestep.bench.execute import torch_threads

    with torch_threads(threads):
        for each in plan.LINE:
            for seed in range(plan.SEEDS):
                measure_line(each, seed, store, data_dir, error_console().print, afresh=afresh)
