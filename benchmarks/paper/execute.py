"""Makes the runs that the store lacks: first the grids, then each line with the pair that its grid chose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from benchmarks.paper import plan
from benchmarks.paper.parallel import Executor
from benchmarks.paper.plan import Figure, Line
from benchmarks.paper.store import CompactRun, chosen, read_runs, task_store
from benchmarks.paper.work import Job, work
from curvestep.bench.checkpoint import checkpoint_path
from curvestep.bench.config import RunConfig
from curvestep.bench.record import FINISHED, RunRecord


@final
@dataclass(frozen=True)
class Setting:
    """Where and for how long runs are made.

    Args:
        folder: of the stores.
        data_dir: folder of local data sets.
        features: folder of features for the linear probe.
        deadline: time of the clock at which the work stops.
        threads: of torch in each run.
    """

    folder: Path
    data_dir: Path | None = None
    features: Path | None = None
    deadline: float = math.inf
    threads: int = 1

    @property
    def unfinished(self) -> Path:
        """Folder in which the states of runs in progress are."""
        return self.folder / "unfinished"

    def job(self, config: RunConfig, give_up: float) -> Job:
        """The work of a run."""
        return Job(config, give_up, self.data_dir, self.features, self.unfinished, self.deadline, self.threads)


def execute_figures(
    figures: Sequence[Figure], setting: Setting, executor: Executor, told: Callable[[str], None]
) -> bool:
    """Make the runs that are missing, figure by figure and panel by panel.

    Args:
        figures: which.
        setting: where and for how long.
        executor: who makes the runs.
        told: is told of each run in a line.

    Returns:
        Whether all runs are there; False if the deadline came first.
    """
    for figure in figures:
        for panel in figure.panels:
            grids = [(config, plan.GIVE_UP) for line in panel.lines for config in line.tuning()]
            if not _sweep(f"{figure.name} tuning", grids, setting, executor, told):
                return False
            known = read_runs(setting.folder, {line.wish.task for line in panel.lines})
            ends = [_ends(line, known) for line in panel.lines]
            # All lines with the first seed, then all with the second: an end in between leaves a figure of few seeds.
            ordered = [(config, math.inf) for seed in range(plan.SEEDS) for end in ends for config in end[seed:][:1]]
            if not _sweep(figure.name, ordered, setting, executor, told):
                return False
    return True


def _ends(line: Line, known: dict[str, RunRecord]) -> tuple[RunConfig, ...]:
    """The runs of a line to the end; none where every pair of its grid diverged."""
    if not line.tuned:
        return line.runs()
    best = chosen(line, known)
    return () if best is None else line.runs(best.config)


def _sweep(
    name: str,
    wanted: Sequence[tuple[RunConfig, float]],
    setting: Setting,
    executor: Executor,
    told: Callable[[str], None],
) -> bool:
    """Make those of some runs that are missing; whether all are there."""
    stores = {config.task: task_store(setting.folder, config.task) for config, _ in wanted}
    for store in stores.values():
        store.open()
    unique = {config.key: (config, give_up) for config, give_up in wanted}
    present = _Present(setting.folder, frozenset(stores))
    missing = [each for key, each in unique.items() if key not in present.keys()]
    told(f"{name}: {len(missing)} of {len(unique)} runs to make")
    late = False

    def jobs() -> Iterator[Job]:
        nonlocal late
        for config, give_up in missing:
            if time.time() >= setting.deadline:
                late = True
                return
            # Another process may have made it since.
            if config.key not in present.keys():
                yield setting.job(config, give_up)

    for record in executor.results(work, jobs()):
        if record is None:
            late = True
            continue
        stores[record.config.task].append(CompactRun(record))
        checkpoint_path(setting.unfinished, record.key).unlink(missing_ok=True)
        told(f"{name} {record.config.task} {record.config.label}, seed {record.config.seed}: {_end(record)}")
    return not late


def _end(record: RunRecord) -> str:
    """How a run ended."""
    last = record.last
    if record.status != FINISHED or last is None or last.train_eval_loss is None:
        return f"a miss, at step {record.diverged_at}"
    return f"training loss {last.train_eval_loss:.4g}, {last.seconds:.1f} s"


@final
class _Present:
    """The keys in the store, read again when a file has changed."""

    def __init__(self, folder: Path, tasks: frozenset[str]) -> None:
        self._folder = folder
        self._tasks = tasks
        self._sizes: dict[Path, int] = {}
        self._keys: frozenset[str] = frozenset()

    def keys(self) -> frozenset[str]:
        """What is there now."""
        paths = [self._folder / f"{task}.jsonl{end}" for task in self._tasks for end in ("", ".gz")]
        sizes = {path: path.stat().st_size for path in paths if path.exists()}
        if sizes != self._sizes:
            self._sizes = sizes
            self._keys = frozenset(read_runs(self._folder, self._tasks))
        return self._keys
