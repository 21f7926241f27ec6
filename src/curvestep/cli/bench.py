"""`curvestep bench`: what a step costs, and whether claims hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console

from curvestep.bench.errors import SettingError, StoreError
from curvestep.bench.overhead.row import RowStore
from curvestep.bench.overhead.subjects import Set
from curvestep.cli import options
from curvestep.cli.watch import Watch

if TYPE_CHECKING:
    from curvestep.bench.claims.looks import LookStore
    from curvestep.bench.overhead.row import Row

_OVERHEAD = Path("benchmarks/overhead")
_CLAIMS = Path("benchmarks/claims")
_PARTS = "parts of names, separated by commas, or by semicolons where a part has a comma"
_SECONDS = {"quick": 1.0, "growth": 1.0, "cuda": 0.5}  # a step on an accelerator takes some hundredths


class _Lines:
    """Says each row in one line on the error stream."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def found(self, row: Row, *, stored: bool) -> None:
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
            help="quick: two networks; standard; full: every way on every network of a processor; compiled: the "
            "steps that compile; growth: width, depth, batch and length of a GPT; cuda. "
            "Without it: standard, or cuda there.",
        ),
    ] = "",
    networks: Annotated[str, typer.Option(help=f"Only these: {_PARTS}.")] = "",
    ways: Annotated[str, typer.Option(help=f"Only these: {_PARTS}.")] = "",
    seconds: Annotated[
        float | None,
        typer.Option(help="For the pairs of a row, three at least. Without it: 2; 1 for quick and growth; ½ for cuda."),
    ] = None,
    within: Annotated[float | None, typer.Option(help="Minutes after which no further row is begun.")] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Measure rows again whose source has changed, or that were disturbed.")
    ] = False,
    afresh: Annotated[bool, typer.Option("--afresh", help="Measure all rows again that are in the store.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Measure nothing; write page and figures.")] = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    out: Annotated[Path, typer.Option(help="Folder of the rows.")] = _OVERHEAD,
    page: Annotated[Path | None, typer.Option(help="The page to write. Without it: overhead.md in --out.")] = None,
) -> None:
    """Measure what a step costs, over a plain step; rows that are in the store are not measured again."""
    from curvestep.report import overhead as report

    if selection and selection not in get_args(Set):
        raise SettingError(f"--set is one of {', '.join(get_args(Set))}; {selection!r} was given.")
    if seconds is not None and not seconds > 0.0:
        raise SettingError(f"--seconds is a number above 0, {seconds:g} was given.")
    if within is not None and not within > 0.0:
        raise SettingError(f"--within is a number of minutes above 0, {within:g} was given.")
    if threads is not None and threads < 1:
        raise SettingError(f"--threads is a whole number ≥ 1, {threads} was given.")
    store = RowStore(out)
    if not render:
        from curvestep.bench.overhead.plan import rows_of
        from curvestep.bench.overhead.run import measure_all
        from curvestep.bench.runner import resolve_device

        found = resolve_device(device)
        size: Any = selection or ("cuda" if found.type == "cuda" else "standard")
        if size == "cuda" and found.type != "cuda":
            raise SettingError(f"--set cuda needs an accelerator, {found.type} was given; add --device cuda.")
        measure_all(
            rows_of(size, networks, ways),
            store,
            _Lines(),
            device=found,
            seconds=seconds if seconds is not None else _SECONDS.get(size, 2.0),
            threads=threads,
            again="all" if afresh else "stale" if stale else "none",
            within=None if within is None else 60.0 * within,
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


def claims(
    only: Annotated[str, typer.Option(help="Only these: line, interpolation, recovery, separated by commas.")] = "",
    render: Annotated[bool, typer.Option("--render", help="Run nothing; write the page.")] = False,
    data_dir: options.DataDir = None,
    threads: options.Threads = 1,
    jobs: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the stores.")] = _CLAIMS,
    page: Annotated[Path | None, typer.Option(help="The page to write. [default: claims.md in --out]")] = None,
) -> None:
    """Run the sources' claims again and say which hold; what is in the store is not repeated."""
    from curvestep.bench.claims import plan
    from curvestep.bench.claims.looks import LookStore
    from curvestep.bench.store import RunStore
    from curvestep.report import claims as report

    names = [name.strip() for name in only.split(",") if name.strip()] or list(plan.NAMES)
    for name in names:
        if name not in plan.NAMES:
            raise SettingError(f"There is no claim {name!r}; the claims are {', '.join(plan.NAMES)}.")
    looks, runs = LookStore(out), RunStore.at(out)
    if not render:
        if "line" in names:
            _lines(looks, data_dir, threads)
        configs = plan.interpolation_configs() if "interpolation" in names else ()
        configs += plan.recovery_configs() if "recovery" in names else ()
        if configs:
            from curvestep.bench.execute import execute

            with Watch(Console(stderr=True, soft_wrap=True), len(configs), live_steps=jobs == 1) as watch:
                execute(configs, runs, watch, data_dir=data_dir, threads=threads, jobs=jobs)
    found = report.verdicts(looks.read(), runs.read())
    document = page if page is not None else out / "claims.md"
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(report.page(found), encoding="utf-8")
    console = Console()
    for verdict in found:
        console.print(f"{verdict.claim}: {verdict.word}", highlight=False, soft_wrap=True)
    console.print(str(document), highlight=False, soft_wrap=True)


def _lines(store: LookStore, data_dir: Path | None, threads: int | None) -> None:
    """The line searches beside LQA's steps."""
    import torch

    from curvestep.bench.claims import plan
    from curvestep.bench.claims.line import measure_line

    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        for each in plan.LINE:
            for seed in range(plan.SEEDS):
                measure_line(each, seed, store, data_dir, errors.print)
    finally:
        torch.set_num_threads(before)
