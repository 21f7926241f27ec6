"""`python -m benchmarks paper`: the figures of the source, run and drawn."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import options
from benchmarks.paper import plan
from benchmarks.paper.plan import FIGURES, NAMES, ScaleName
from benchmarks.paper.store import pack, read_runs
from benchmarks.paper.times import time_rows, times_store
from benchmarks.repository import DOCS, STORES, shown, write
from curvestep.bench.errors import SettingError
from curvestep.bench.names import several
from curvestep.cli.options import DataDir, Device, Threads
from curvestep.cli.refusing import error_console

Names = Annotated[
    list[str] | None, typer.Argument(help="Which of fig2 … fig9 and table3; all of them if none is named.")
]
Scale = Annotated[str, typer.Option(help="small: an hour on a core; paper: the source's numbers, weeks on a GPU.")]
Parallel = Annotated[str, typer.Option(help="Where runs are made at a time: none, joblib (cores), ray (machines).")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster. [default: one on this machine]")]
TimeLimit = Annotated[
    float | None, typer.Option(help="Seconds after which it stops; the same command goes on from there.")
]
Features = Annotated[
    Path | None, typer.Option(help="Folder of features for fig4. [default: those of a network trained here]")
]


def paper(
    names: Names = None,
    scale: Scale = "small",
    render: options.Render = False,
    parallel: Parallel = "none",
    jobs: options.Jobs = 1,
    address: Address = None,
    time_limit: TimeLimit = None,
    device: Device = "cpu",
    features: Features = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    out: options.Out = STORES / "paper",
    page: options.Page = DOCS / "paper.md",
) -> None:
    """Run the figures of the source again and draw them; what is in the store is not repeated."""
    wanted = several("figure", ",".join(names or ()), NAMES)
    chosen = _scale(scale)
    if time_limit is not None and not time_limit > 0.0:
        raise SettingError(f"--time-limit is a number of seconds above 0, {time_limit:g} was given.")
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    told = error_console().print
    figures = plan.figures(chosen, device)
    if not render:
        from benchmarks.paper.execute import Setting, execute_figures
        from benchmarks.paper.parallel import executor
        from curvestep.bench.runner import resolve_device

        deadline = math.inf if time_limit is None else time.time() + time_limit
        setting = Setting(out, data_dir, features, deadline, threads or 1)
        workers = executor(parallel, jobs, address, device)
        if parallel != "ray":  # whose machines have devices of their own
            resolve_device(device)
        if features is not None:
            from curvestep.bench.data.features import read_features

            read_features(features)  # refused now, not in a worker an hour later
        whole = execute_figures([figures[name] for name in wanted if name in FIGURES], setting, workers, told)
        if whole and "table3" in wanted:
            whole = time_rows(times_store(out), chosen, told, data_dir=data_dir, device=device, deadline=deadline)
        if not whole:
            told("The time limit came first; the same command goes on from here.")
        for path in pack(out):
            told(f"packed: {shown(path)}")
    from benchmarks.paper.figure import write_figures
    from benchmarks.paper.page import text

    runs = read_runs(out)
    drawn = write_figures([figures[name] for name in wanted if name in FIGURES], runs, page.parent / "figures")
    write(page, text(chosen, runs, times_store(out).read(), device))
    for path in drawn:
        print(shown(path))


def _scale(name: str) -> ScaleName:
    """The scale of this name."""
    for scale in plan.SCALES:
        if scale == name:
            return scale
    raise SettingError(f"--scale is one of {', '.join(plan.SCALES)}; {name!r} was given.")
