"""`python -m benchmarks paper`: the figures of the source, run and drawn."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import options
from benchmarks.paper import plan
from benchmarks.paper.parts import Part, named_figures, of_methods
from benchmarks.paper.plan import FIGURES, NAMES, GridName, ScaleName
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
Tasks = Annotated[str, typer.Option(help="Only the panels of these tasks, separated by commas. [default: all]")]
Methods = Annotated[
    str, typer.Option(help="Run only the lines of these methods; the page has them all. [default: all]")
]
Grid = Annotated[str, typer.Option(help="whole; or coarse: every other rate and decay, at half the epochs.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the store. [default: one for each scale]")]
Page = Annotated[
    Path | None, typer.Option(help="The page to write, by whose name its figures begin. [default: one for each scale]")
]
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
    tasks: Tasks = "",
    methods: Methods = "",
    grid: Grid = "whole",
    render: options.Render = False,
    parallel: Parallel = "none",
    jobs: options.Jobs = 1,
    address: Address = None,
    time_limit: TimeLimit = None,
    device: Device = "cpu",
    features: Features = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    out: Out = None,
    page: Page = None,
) -> None:
    """Run the figures of the source again and draw them; what is in the store is not repeated."""
    wanted = several("figure", ",".join(names or ()), NAMES)
    chosen, pairs = _scale(scale), _grid(grid)
    own = "paper" if chosen == "small" else "paper-scale"
    out = STORES / own if out is None else out
    page = _page(own, page, whole=not tasks and pairs == "whole")
    if tasks and "table3" in wanted:
        if names:
            raise SettingError("Table 3 compares all its tasks; leave out table3, or leave out --tasks.")
        wanted.remove("table3")
    if time_limit is not None and not time_limit > 0.0:
        raise SettingError(f"--time-limit is a number of seconds above 0, {time_limit:g} was given.")
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    told = error_console().print
    part = Part(tasks, pairs, page.stem)
    figures = part.figures(chosen, device)
    named = [name for name in wanted if name in FIGURES]
    drawn = named_figures(figures, named, tasks)
    made = named_figures(of_methods(figures, methods), named, methods)
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
        whole = execute_figures(made, setting, workers, told)
        if whole and "table3" in wanted:
            whole = time_rows(times_store(out), chosen, told, data_dir=data_dir, device=device, deadline=deadline)
        if not whole:
            told("The time limit came first; the same command goes on from here.")
        for path in pack(out):
            told(f"packed: {shown(path)}")
    from benchmarks.paper.figure import write_figures
    from benchmarks.paper.page import text

    runs = read_runs(out)
    written = write_figures(drawn, runs, page.parent / "figures", page.stem)
    write(page, text(chosen, runs, times_store(out).read(), device, part))
    for path in written:
        print(shown(path))


def _scale(name: str) -> ScaleName:
    """The scale of this name."""
    for scale in plan.SCALES:
        if scale == name:
            return scale
    raise SettingError(f"--scale is one of {', '.join(plan.SCALES)}; {name!r} was given.")


def _grid(name: str) -> GridName:
    """The grid of this name."""
    for grid in plan.GRIDS:
        if grid == name:
            return grid
    raise SettingError(f"--grid is one of {', '.join(plan.GRIDS)}; {name!r} was given.")


def _page(stem: str, page: Path | None, *, whole: bool) -> Path:
    """The page to write; that of a part must be named, or it would take the place of the whole one."""
    if page is None and not whole:
        raise SettingError(
            f"The page docs/{stem}.md has all tasks and the whole grid; for a part of them name another with --page."
        )
    return DOCS / f"{stem}.md" if page is None else page
