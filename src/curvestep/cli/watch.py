"""The display of running runs: a bar with loss, step size and curvature."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from curvestep.bench.config import RunConfig
from curvestep.bench.record import FINISHED, RunRecord

if TYPE_CHECKING:
    from curvestep.bench.runner import Progress as StepProgress

# Lines that a run writes where no bar can be drawn, as in a log file.
_LINES = 10
# Number of steps from which the duration is estimated.
_TIMED = 5


@final
class Watch:
    """A listener that draws bars on a terminal, and writes a line now and then where there is none.

    Args:
        console: where to.
        runs: number of runs; with more than one there is a second bar for them.
        live_steps: whether steps will be reported.
    """

    def __init__(self, console: Console, runs: int, live_steps: bool) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._console = console
        self._live_steps = live_steps
        self._all: TaskID | None = self._bars.add_task("runs", total=runs, numbers="") if runs > 1 else None
        self._run: TaskID | None = None
        self._runs = runs
        self._timed = False

    def __enter__(self) -> Watch:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._bars.stop()

    def skipped(self, config: RunConfig) -> None:
        """A run was already in the store."""
        self._console.print(f"[dim]{_name(config)}: already in the store[/dim]", highlight=False)
        self._count()

    def started(self, config: RunConfig) -> None:
        """A run begins."""
        if not self._live_steps:
            return
        if self._run is not None:
            self._bars.remove_task(self._run)
        self._run = self._bars.add_task(_name(config), total=None, numbers="loading")

    def stepped(self, config: RunConfig, progress: StepProgress) -> None:
        """A run did a step."""
        if self._run is None:
            return
        step = progress.measurement
        if not self._timed and step.step == _TIMED:
            self._timed = True
            of_all = (
                f", {duration(step.seconds / _TIMED * progress.steps * self._runs)} for all" if self._runs > 1 else ""
            )
            one = duration(step.seconds / _TIMED * progress.steps)
            self._console.print(f"About {one} for a run of {progress.steps:,} steps{of_all}.", highlight=False)
        if not self._console.is_terminal and step.step % -(-progress.steps // _LINES) != 0:
            return
        numbers = f"loss {step.loss_ema:.3g} step size {step.step_size:.2g}"
        if step.curvature is not None:
            numbers += f" curvature {step.curvature:.2g}"
        if not self._console.is_terminal:
            self._console.print(f"{_name(config)}: step {step.step} of {progress.steps}: {numbers}", highlight=False)
        self._bars.update(self._run, total=progress.steps, completed=step.step, numbers=numbers)

    def finished(self, record: RunRecord) -> None:
        """A run is in the store."""
        if self._all is not None:
            last = record.last
            if record.status != FINISHED or last is None or last.train_eval_loss is None:
                text = f"diverged at step {record.diverged_at}"
            else:
                text = f"training loss {last.train_eval_loss:.4g}, {last.seconds:.1f} s"
            self._console.print(f"{_name(record.config)}: {text}", highlight=False)
        self._count()

    def _count(self) -> None:
        """One run more is done."""
        if self._all is not None:
            self._bars.advance(self._all)


@final
class Silence:
    """A listener that says nothing."""

    def skipped(self, config: RunConfig) -> None:
        """A run was already in the store."""

    def started(self, config: RunConfig) -> None:
        """A run begins."""

    def stepped(self, config: RunConfig, progress: StepProgress) -> None:
        """A run did a step."""

    def finished(self, record: RunRecord) -> None:
        """A run is in the store."""


def _name(config: RunConfig) -> str:
    """Method and seed."""
    return f"{config.label}, seed {config.seed}"


def duration(seconds: float) -> str:
    """Return a time as a person reads it.

    Example:
        >>> [duration(seconds) for seconds in (0.4, 42.0, 150.0, 9000.0)]
        ['1 s', '42 s', '2.5 min', '2.5 h']
    """
    if seconds < 90.0:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60.0:.1f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
