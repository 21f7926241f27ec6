"""`curvestep watch` and `curvestep plot`: one run of `curvestep train`, while it lasts and after."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import typer
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from curvestep.bench.config import RunConfig
from curvestep.bench.errors import StoreError
from curvestep.bench.live import SUFFIX, LiveFile, LiveStep, live_path, read_live, run_stem
from curvestep.bench.record import RunRecord, run_store
from curvestep.cli.watch import duration
from curvestep.report.steps import outcome_shares, write_steps_figure

if TYPE_CHECKING:
    from curvestep.bench.execute import Listener
    from curvestep.bench.runner import Progress

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
_PAUSE = 0.5
# Seconds without a line after which it is said.
_SILENT = 10.0

Run = Annotated[
    Path, typer.Argument(help="runs/TASK-METHOD-seedN, as `curvestep train` names its files, or the folder of one run.")
]


@final
class Noting:
    """A listener that writes the run in progress to its file, and hands on to another listener."""

    def __init__(self, inner: Listener, file: LiveFile) -> None:
        self._inner = inner
        self._file = file

    def skipped(self, config: RunConfig) -> None:
        """A run was already in the store."""
        self._inner.skipped(config)

    def started(self, config: RunConfig) -> None:
        """A run begins."""
        self._inner.started(config)

    def stepped(self, config: RunConfig, progress: Progress) -> None:
        """A run did a step."""
        self._file.write(progress.measurement, progress.steps)
        self._inner.stepped(config, progress)

    def finished(self, record: RunRecord) -> None:
        """A run is in the store."""
        self._file.remove()
        self._inner.finished(record)


def watch(
    run: Run = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Show the run as it is now, and end.")] = False,
) -> None:
    """Watch a run that `curvestep train` is doing elsewhere: loss, step size, curvature and outcomes."""
    stem = _in_progress(run)
    rows = read_live(live_path(stem))
    if once:
        Console().print(_display(stem, rows))
        return
    try:
        with Live(_display(stem, rows), console=Console(), auto_refresh=False) as live:
            while rows:
                live.update(_display(stem, rows), refresh=True)
                time.sleep(_PAUSE)
                rows = read_live(live_path(stem))
    except KeyboardInterrupt:
        return  # of the watching; the run goes on
    Console().print(f"{stem.name} is finished: curvestep plot {stem}", highlight=False, soft_wrap=True)


def plot(run: Run = Path("runs")) -> None:
    """Draw the steps of one run: loss, step size, curvature and outcomes."""
    stem, record = _stored(run)
    if record is not None:
        samples, title, outcomes = record.samples, record.config.label, record.outcomes
        title = f"{record.config.task}, {title}, seed {record.config.seed}"
        steps, losses, sizes, bends = samples.step, samples.loss_ema, samples.step_size, samples.curvature
    else:
        rows = read_live(live_path(stem))
        title, outcomes = f"{stem.name}, up to step {rows[-1].step}", rows[-1].outcomes
        steps, losses = [row.step for row in rows], [row.loss_ema for row in rows]
        sizes, bends = [row.step_size for row in rows], [row.curvature for row in rows]
    columns = [("loss of the batches, moving average", losses), ("step size", sizes), ("curvature", bends)]
    written = write_steps_figure(stem, title, steps, columns, outcomes)
    Console().print(f"Figure: {written[0]} (and {written[1].name})", highlight=False, soft_wrap=True)


def _in_progress(run: Path) -> Path:
    """Return what the run's files begin with; of a folder, those of the run that was written to last."""
    files = sorted(run.glob("*" + SUFFIX), key=lambda path: path.stat().st_mtime) if run.is_dir() else [live_path(run)]
    if not files or not read_live(files[-1]):
        raise StoreError(
            f"A run in progress was needed, but there is none at {run}: `curvestep train` writes one as it goes; give "
            "the path that its files begin with, or their folder."
        )
    return files[-1].with_name(files[-1].name.removesuffix(SUFFIX))


def _stored(run: Path) -> tuple[Path, RunRecord | None]:
    """Return what the run's files begin with and its record; None for one that is in progress or was stopped."""
    store = run_store(run if run.is_dir() else run.parent)
    records = {run_stem(store.path, record.config): record for record in store.read()}
    if run.is_dir() and len(records) == 1:
        return next(iter(records.items()))
    if run in records:
        return run, records[run]
    if not run.is_dir() and read_live(live_path(run)):
        return run, None
    names = ", ".join(str(stem) for stem in records) or "none"
    raise StoreError(f"One run was needed, but {run} is none of those in the store {store.path}: {names}.")


def _display(stem: Path, rows: Sequence[LiveStep]) -> Table:
    """Return the state of a run as lines: how far it is, and its numbers with their course."""
    grid = Table.grid(padding=(0, 2))
    last = rows[-1]
    left = last.seconds / last.step * (last.steps - last.step)
    grid.add_row(stem.name, f"{last.step:,} of {last.steps:,}", ProgressBar(last.steps, last.step, width=_WIDTH))
    with contextlib.suppress(FileNotFoundError):  # the run has ended in this moment
        silent = time.time() - live_path(stem).stat().st_mtime
        note = f"nothing new for {duration(silent)}: it may have been stopped" if silent > _SILENT else ""
        grid.add_row("time", f"{duration(last.seconds)}, {duration(left)} left" if left else "", note)
    for title, values in (
        ("loss", [row.loss_ema for row in rows]),
        ("step size", [row.step_size for row in rows]),
        ("curvature", [row.curvature for row in rows]),
    ):
        seen = [value for value in values if value is not None]
        if seen:
            grid.add_row(title, f"{seen[-1]:.3g}", course(seen))
    if last.outcomes:
        grid.add_row("outcomes", "", outcome_shares(last.outcomes))
    return grid


def course(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return numbers as a line of bars, on a logarithmic scale where all are above zero.

    Example:
        >>> course([1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0, 1e6, 1e7])
        '▁▂▃▄▅▆▇█'
    """
    places = min(width, len(values))
    chosen = [values[(len(values) - 1) * i // max(places - 1, 1)] for i in range(places)]
    heights = [math.log(value) for value in chosen] if min(chosen) > 0.0 else chosen
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    return "".join(_BARS[round((height - low) / span * (len(_BARS) - 1))] for height in heights)
