"""`curvestep bench regimes`: the experiments on what the source leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from curvestep.bench.errors import SettingError
from curvestep.bench.regimes.plan import CASES, EXPERIMENTS, Experiment
from curvestep.bench.regimes.row import RegimeStore
from curvestep.cli import options

_REGIMES = Path("benchmarks/regimes")


def regimes(
    only: Annotated[str, typer.Option(help=f"Only these: {', '.join(EXPERIMENTS)}, separated by commas.")] = "",
    render: Annotated[bool, typer.Option("--render", help="Run nothing; write page and figure.")] = False,
    afresh: Annotated[bool, typer.Option("--afresh", help="Make runs again that are in the store.")] = False,
    data_dir: options.DataDir = None,
    threads: options.Threads = 1,
    out: Annotated[Path, typer.Option(help="Folder of the rows.")] = _REGIMES,
    page: Annotated[Path | None, typer.Option(help="The page to write. [default: regimes.md in --out]")] = None,
) -> None:
    """Run the experiments on overshoot, ReLU, small batches and momentum; what is in the store is not repeated."""
    from curvestep.report import regimes as report
    from curvestep.report.regimes_figure import write_figure

    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in CASES:
            raise SettingError(f"There is no experiment {name!r}; the experiments are {', '.join(EXPERIMENTS)}.")
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    store = RegimeStore(out)
    if not render:
        from curvestep.bench.regimes.execute import run_regimes

        errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        chosen: list[Experiment] = [name for name in EXPERIMENTS if not names or name in names]
        run_regimes(chosen, store, errors.print, data_dir=data_dir, threads=threads, afresh=afresh)
    rows = store.read()
    document = page if page is not None else out / "regimes.md"
    figure = document.parent / "figures" / "regimes"
    written = write_figure(rows, figure)
    found = report.verdicts(rows)
    document.write_text(report.page(found, "figures/regimes.png"), encoding="utf-8")
    console = Console()
    for verdict in found:
        console.print(f"{verdict.claim}: {verdict.word}", highlight=False, soft_wrap=True)
    for path in (out, document, written[0]):
        console.print(str(path), highlight=False, soft_wrap=True)
