"""The commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curvestep.bench.config import DEFAULT_WEIGHT_DECAY, RunConfig
from curvestep.bench.errors import SettingError, StoreError
from curvestep.bench.live import LiveFile, live_path, run_stem
from curvestep.bench.methods import GROUPS
from curvestep.bench.methods.method import Method
from curvestep.bench.record import RunRecord, run_store
from curvestep.bench.settings import LR_GRID, Wish, comparison, refuse_idle_schedule, run_config, with_rates
from curvestep.bench.store import Store
from curvestep.bench.tasks import TASKS, get_task
from curvestep.cli import options
from curvestep.cli.doctor import doctor
from curvestep.cli.live import Noting, plot, watch
from curvestep.cli.refusing import error_console, refusing
from curvestep.cli.watch import Silence, Watch
from curvestep.report.figure import write_figures
from curvestep.report.series import Axis, panels
from curvestep.report.table import json_rows, markdown, rich_table

_OUT = Path("runs")
_DEMO_OUT = _OUT / "demo"
# Three decades each, so that the middle one is near what a person would try first.
_DEMO_RATES = {"sgd": (0.01, 0.1, 1.0), "adamw": (1e-4, 1e-3, 1e-2)}

app = typer.Typer(name="curvestep", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _say_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from curvestep import __version__

        print(f"curvestep {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version.")
    ] = False,
) -> None:
    """Train with step sizes that are measured from the curvature of the loss, and compare with tuned ones."""


@app.command()
@refusing
def train(
    task: Annotated[str, typer.Argument(help="Name of a task, see `curvestep tasks`.")],
    method: Annotated[str, typer.Option(help="Name of a method, see `curvestep methods`.")],
    lr: Annotated[float | None, typer.Option(help="Learning rate, for methods that need one.")] = None,
    decay: options.Decay = 1.0,
    schedule: options.ScheduleName = "exponential",
    warmup: options.Warmup = 0,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    scale: options.ScaleName = None,
    seed: Annotated[int, typer.Option(help="Decides initial weights and the order of batches.")] = 0,
    weight_decay: options.WeightDecay = DEFAULT_WEIGHT_DECAY,
    device: options.Device = "cpu",
    data_dir: options.DataDir = None,
    subset: options.Subset = None,
    threads: options.Threads = None,
    out: options.Out = _OUT,
    save: Annotated[
        Path | None, typer.Option(help="File of the trained weights. [default: beside the figure]", show_default=False)
    ] = None,
    afresh: options.Afresh = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train one network with one method; its weights are saved as a state_dict."""
    wish = Wish(
        task=task,
        scale=scale or get_task(task).default_scale,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        subset=subset,
        decay=decay,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        device=device,
    )
    config = run_config(wish, method, lr, seed)
    refuse_idle_schedule(wish, [method])
    store = run_store(out)
    stem = run_stem(store.path, config)
    weights, live = save or stem.with_name(f"{stem.name}.pt"), LiveFile(live_path(stem))
    written = _time_of(weights)
    try:
        _execute(
            [config], store, data_dir, threads, 1, quiet=quiet or as_json, afresh=afresh, weights=weights, live=live
        )
    except KeyboardInterrupt:
        if _time_of(weights) != written:
            error_console().print(f"curvestep: the weights so far are in {weights}.")
        raise
    records = _chosen(store, [config])
    if as_json:
        print(json.dumps(records[0].to_json()))
        return
    _show(records, store, stem, ("epoch",))
    if weights.exists():
        _console().print(f"Weights: {weights}", highlight=False, soft_wrap=True)


@app.command()
@refusing
def compare(
    task: Annotated[str, typer.Argument(help="Name of a task, see `curvestep tasks`.")],
    methods: Annotated[str, typer.Option(help="Names of methods, separated by commas.")],
    seeds: Annotated[int, typer.Option(help="Number of seeds, counted from 0.")] = 3,
    lrs: Annotated[
        str, typer.Option(help="Learning rates for methods that need one, separated by commas; `grid` for all 14.")
    ] = "",
    decay: options.Decay = 1.0,
    schedule: options.ScheduleName = "exponential",
    warmup: options.Warmup = 0,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    scale: options.ScaleName = None,
    weight_decay: options.WeightDecay = DEFAULT_WEIGHT_DECAY,
    device: options.Device = "cpu",
    data_dir: options.DataDir = None,
    subset: options.Subset = None,
    threads: options.Threads = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time; their seconds disturb each other.")] = 1,
    out: options.Out = _OUT,
    afresh: options.Afresh = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train with several methods side by side; runs that are in the store are not repeated."""
    wish = Wish(
        task=task,
        scale=scale or get_task(task).default_scale,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        subset=subset,
        decay=decay,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        device=device,
    )
    rows = with_rates([name.strip() for name in methods.split(",")], _rates(lrs))
    refuse_idle_schedule(wish, [name for name, _ in rows])
    configs = comparison(wish, rows, seeds)
    store = run_store(out)
    _execute(configs, store, data_dir, threads, jobs, quiet=quiet or as_json, afresh=afresh)
    records = _chosen(store, configs)
    if as_json:
        print(json.dumps([row for panel in panels(records) for row in json_rows(panel)]))
        return
    _show(records, store, store.path.parent / configs[0].task)


@app.command()
@refusing
def report(
    store: Annotated[Path, typer.Argument(help="A run store, or the folder that holds runs.jsonl.")],
    figure: Annotated[bool, typer.Option("--figure", help="Draw the figures only.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Print the tables only.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON only.")] = False,
    task: Annotated[str | None, typer.Option(help="Only the runs of this task.")] = None,
) -> None:
    """Tables and figures of a run store, from the store alone."""
    opened = run_store(store)
    if not opened.path.exists():
        raise StoreError(f"There is no run store {opened.path}; `curvestep train` and `curvestep compare` make one.")
    records = [record for record in opened.read() if task is None or record.config.task == task]
    if not records:
        raise StoreError(f"The run store {opened.path} holds no run" + (f" of the task {task}." if task else "."))
    groups = panels(records)
    everything = not (figure or table or as_markdown or as_json)
    if as_json:
        print(json.dumps([row for panel in groups for row in json_rows(panel)]))
    if as_markdown:
        print(markdown(groups))
    if table or everything:
        for panel in groups:
            _console().print(rich_table(panel))
    if figure or everything:
        for path in write_figures(groups, opened.path.parent / (task or "report")):
            _console().print(f"Figure: {path}", highlight=False, soft_wrap=True)


@app.command()
@refusing
def demo(
    seeds: Annotated[int, typer.Option(help="Number of seeds, counted from 0.")] = 2,
    jobs: Annotated[int, typer.Option(help="Runs at a time; their seconds disturb each other.")] = 1,
    out: options.Out = _DEMO_OUT,
) -> None:
    """Three methods without a learning rate next to two with three each, on scikit-learn's digits; under a minute."""
    rows: list[tuple[str, float | None]] = [("auto", None), ("red-sgd", None), ("red-adam", None)]
    rows += [(name, lr) for name, rates in _DEMO_RATES.items() for lr in rates]
    configs = comparison(Wish("digits-mlp"), rows, seeds)
    store = run_store(out)
    # One thread: these networks are too small to gain from more.
    _execute(configs, store, None, 1, jobs, quiet=False)
    _show(_chosen(store, configs), store, store.path.parent / "digits-mlp")


@app.command()
def tasks() -> None:
    """List the tasks with the numbers of their scales."""
    table = Table("task", "scale", "network", "batch", "epochs", "examples")
    for task in TASKS.values():
        for index, (name, scale) in enumerate(task.scales.items()):
            size = "all" if scale.train_size is None else f"{scale.train_size:,}"
            first = task.name if index == 0 else ""
            table.add_row(first, name, scale.network.text, str(scale.batch_size), str(scale.epochs), size)
    console = _console()
    console.print(table)
    for task in TASKS.values():
        console.print(f"{task.name}: {task.description}", highlight=False)


@app.command()
def methods() -> None:
    """List the methods: what is recommended, those of the source, peers, and ablations that show what a part is for."""
    for group, members in GROUPS.items():
        table = Table("method", "learning rate", "what it does", title=group, title_justify="left")
        for method in members:
            table.add_row(method.name, _rate_of(method), method.description)
        _console().print(table)


def _rate_of(method: Method) -> str:
    """How a method treats a learning rate."""
    if method.needs_lr:
        return "needed"
    return "none" if method.default_lr is None else f"{method.default_lr:g}, or --lr"


app.command()(refusing(doctor))
app.command()(refusing(watch))
app.command()(refusing(plot))


def _execute(
    configs: Sequence[RunConfig],
    store: Store[RunRecord],
    data_dir: Path | None,
    threads: int | None,
    jobs: int,
    *,
    quiet: bool,
    afresh: bool = False,
    weights: Path | None = None,
    live: LiveFile | None = None,
) -> None:
    """Do the runs that are missing, with bars or in silence."""
    from curvestep.bench.execute import execute

    def go(inner: Silence | Watch) -> None:
        listener = inner if live is None else Noting(inner, live)
        execute(configs, store, listener, data_dir=data_dir, threads=threads, jobs=jobs, afresh=afresh, weights=weights)

    if quiet:
        go(Silence())
        return
    # On the error stream, so that standard output holds results only.
    with Watch(Console(stderr=True, soft_wrap=True), len(configs), live_steps=jobs == 1) as bars:
        go(bars)


def _time_of(file: Path) -> int | None:
    """When a file was written; None where there is none."""
    return file.stat().st_mtime_ns if file.exists() else None


def _chosen(store: Store[RunRecord], configs: Sequence[RunConfig]) -> list[RunRecord]:
    """The runs of these settings."""
    keys = {config.key for config in configs}
    return [record for record in store.read() if record.config.key in keys]


def _show(
    records: Sequence[RunRecord], store: Store[RunRecord], stem: Path, axes: Sequence[Axis] = ("epoch", "seconds")
) -> None:
    """Tables, and where store and figures are."""
    console = _console()
    groups = panels(records)
    for panel in groups:
        console.print(rich_table(panel))
    written = write_figures(groups, stem, axes)
    console.print(f"Runs:   {store.path}", highlight=False, soft_wrap=True)
    for axis, picture in zip(axes, written[::2], strict=True):
        what = "Figure:" if axis == "epoch" else "Against seconds:"
        console.print(f"{what} {picture} (and {picture.with_suffix('.svg').name})", highlight=False, soft_wrap=True)


def _rates(text: str) -> tuple[float, ...]:
    """Learning rates from the command line."""
    if text.strip() == "grid":
        return LR_GRID
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingError(
            f"--lrs takes numbers separated by commas, as in 1e-3,3e-3, or the word grid; {text!r} was given."
        ) from None


def _console() -> Console:
    """Standard output, looked up at each call so that redirection works."""
    return Console()
