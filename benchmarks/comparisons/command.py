"""`python -m benchmarks first | auto | horizons | all-methods | measured | tables`: method beside method."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from benchmarks import options
from benchmarks.comparisons.pages import FRONT, write_pages
from benchmarks.comparisons.plan import COMPARISONS
from benchmarks.repository import STORES
from curvestep.bench.names import several
from curvestep.bench.record import run_store
from curvestep.cli.options import DataDir, Threads
from curvestep.cli.watch import Watch


def _command(name: str) -> Callable[..., None]:
    """The command that makes the runs of a comparison and writes its page."""
    compared = COMPARISONS[name]

    def command(
        only: options.Only = "",
        render: options.Render = False,
        afresh: options.Afresh = False,
        jobs: options.Jobs = 1,
        data_dir: DataDir = None,
        threads: Threads = None,
    ) -> None:
        for folder in several("store", only, compared.stores):
            if not render:
                from curvestep.bench.execute import execute

                configs = [config for runs in compared.stores[folder] for config in runs.configs()]
                with Watch(Console(stderr=True, soft_wrap=True), len(configs), live_steps=jobs == 1) as watch:
                    execute(
                        configs,
                        run_store(STORES / folder),
                        watch,
                        data_dir=data_dir,
                        threads=threads,
                        jobs=jobs,
                        afresh=afresh,
                    )
        write_pages([compared.page, *([FRONT] if compared.page == "docs/auto.md" else [])])

    command.__doc__ = (
        f"Make the runs that are missing in the stores of {compared.page}, and write its tables and figures."
    )
    return command


first, auto, horizons, all_methods, measured = map(_command, COMPARISONS)


def tables(render: options.Render = True) -> None:
    """Write the tables and draw the figures of every page that quotes a comparison, from the committed stores."""
    del render  # it never measures
    write_pages(dict.fromkeys([FRONT, *(each.page for each in COMPARISONS.values())]))
