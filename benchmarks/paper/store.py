"""The runs of the figures on disk: a compact line each, a file a task, read back as `RunRecord`."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from benchmarks.paper.plan import Line
from curvestep.bench.config import RunConfig
from curvestep.bench.errors import StoreError
from curvestep.bench.record import FINISHED, RunRecord, StepSamples
from curvestep.bench.store import Store, rounded

#: Digits that a stored number keeps, and samples that a run keeps.
DIGITS = 5
SAMPLES = 60
#: Bytes from which on a file is packed.
PACKED_FROM = 3_000_000
_EMPTY = (None, None)


@final
@dataclass(frozen=True)
class CompactRun:
    """A run as a line: epochs as columns, few samples, no column without a number.

    Args:
        run: what the line holds.
    """

    run: RunRecord

    @property
    def key(self) -> str:
        """That of the settings."""
        return self.run.key

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON object."""
        data = self.run.to_json()
        rows: list[dict[str, Any]] = data["epochs"]
        names = [field.name for field in dataclasses.fields(type(self.run.epochs[0]))] if rows else []
        columns = {name: [row[name] for row in rows] for name in names}
        data["epochs"] = _used(columns)
        data["samples"] = _used(dataclasses.asdict(thinned(self.run.samples, SAMPLES)))
        return {"compact": 1, **rounded(data, DIGITS)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CompactRun:
        """Return the line that `to_json` gave.

        Raises:
            ValueError: if it is none, or one of another version.
        """
        if data.get("compact") != 1:
            raise ValueError(f"This version reads compact runs of form 1, this one has {data.get('compact')!r}.")
        try:
            columns: dict[str, list[Any]] = data["epochs"]
            count = max(map(len, columns.values()), default=0)
            rows = [{name: column[row] for name, column in columns.items()} for row in range(count)]
            samples: dict[str, list[Any]] = data["samples"]
            length = max(map(len, samples.values()), default=0)
            names = [field.name for field in dataclasses.fields(StepSamples)]
            filled = {name: samples.get(name, [None] * length) for name in names}
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"The record of a run is incomplete ({error}).") from error
        full = [{"train_loss": None, **dict.fromkeys(_OPTIONAL), **row} for row in rows]
        plain = {name: value for name, value in data.items() if name != "compact"}
        return cls(RunRecord.from_json({**plain, "epochs": full, "samples": filled}))


_OPTIONAL = ("train_eval_loss", "test_loss", "test_accuracy", "step_size")


def _used(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The columns that have a number."""
    return {name: list(column) for name, column in columns.items() if any(value is not None for value in column)}


def thinned(samples: StepSamples, limit: int) -> StepSamples:
    """Every n-th sample and the last one.

    Args:
        samples: of a run.
        limit: how many there may be, besides the last.

    Returns:
        The samples that are kept.
    """
    stride = max(1, -(-len(samples.step) // limit))
    kept = sorted({*range(0, len(samples.step), stride), *range(len(samples.step))[-1:]})
    columns = {field.name: getattr(samples, field.name) for field in dataclasses.fields(samples)}
    return StepSamples(**{name: tuple(column[row] for row in kept) for name, column in columns.items()})


def task_store(folder: Path, task: str) -> Store[CompactRun]:
    """The file that new runs of a task are appended to.

    Args:
        folder: of the stores.
        task: name.

    Returns:
        The store.
    """
    return Store(folder / f"{task}.jsonl", CompactRun)


def read_runs(folder: Path, tasks: Iterable[str] = ()) -> dict[str, RunRecord]:
    """All runs of some tasks by the key of their settings, those of packed files too; of equal settings the newest.

    Args:
        folder: of the stores.
        tasks: names; all that there are if empty.

    Returns:
        Key → run.

    Raises:
        StoreError: if a file cannot be read.

    Warns:
        StoreWarning: once for each line that is not a complete one; it is skipped.
    """
    wanted = set(tasks)
    found: dict[str, RunRecord] = {}
    for path in sorted(folder.glob("*.jsonl.gz")) + sorted(folder.glob("*.jsonl")):
        task = path.name.split(".jsonl")[0]
        if (wanted and task not in wanted) or task == TIMES:
            continue
        runs = _unpacked(path) if path.suffix == ".gz" else Store(path, CompactRun).read()
        found.update((line.key, line.run) for line in runs)
    return found


#: Name of the file that table 3 has beside those of the tasks.
TIMES = "times"


def pack(folder: Path, limit: int = PACKED_FROM) -> list[Path]:
    """Move the lines of files above a size into their compressed twins; no line is ever in neither of them.

    Args:
        folder: of the stores.
        limit: bytes.

    Returns:
        The compressed files that were written.
    """
    written: list[Path] = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.stat().st_size <= limit or path.stem == TIMES:
            continue
        packed = path.with_name(path.name + ".gz")
        lines = {line.key: line for line in (*(_unpacked(packed) if packed.exists() else ()), *_read(path))}
        text = "".join(json.dumps(line.to_json(), separators=(",", ":")) + "\n" for line in lines.values())
        beside = packed.with_name(packed.name + ".new")
        beside.write_bytes(gzip.compress(text.encode(), mtime=0))
        os.replace(beside, packed)
        path.unlink()
        written.append(packed)
    return written


def _read(path: Path) -> tuple[CompactRun, ...]:
    return Store(path, CompactRun).read()


def _unpacked(path: Path) -> tuple[CompactRun, ...]:
    """The lines of a compressed file."""
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        return tuple(CompactRun.from_json(json.loads(line)) for line in text.splitlines())
    except (OSError, EOFError, ValueError) as error:
        raise StoreError(
            f"The packed store {path} could not be read ({error}); take it from the repository again, or remove it."
        ) from error


# -- the plan's lines, as far as the store has them -------------------------------------------------------------------


def chosen(line: Line, runs: Mapping[str, RunRecord]) -> RunRecord | None:
    """The tuning run with the lowest training loss.

    Args:
        line: of the plan.
        runs: by key.

    Returns:
        The run; None if the line has no grid, a pair of it is missing, or all diverged.
    """
    configs = line.tuning()
    if not configs or any(config.key not in runs for config in configs):
        return None
    ended = [run for run in (runs[config.key] for config in configs) if training_loss(run) is not None]
    return min(ended, key=lambda run: training_loss(run) or 0.0, default=None)


def line_runs(line: Line, runs: Mapping[str, RunRecord]) -> tuple[RunRecord, ...]:
    """The runs of a line to the end, as far as they are there, in the order of their seeds."""
    best = chosen(line, runs) if line.tuned else None
    if line.tuned and best is None:
        return ()
    configs: tuple[RunConfig, ...] = line.runs(None if best is None else best.config)
    return tuple(runs[config.key] for config in configs if config.key in runs)


def tuning_runs(line: Line, runs: Mapping[str, RunRecord]) -> tuple[RunRecord, ...]:
    """The tuning runs of a line, as far as they are there."""
    return tuple(runs[config.key] for config in line.tuning() if config.key in runs)


def training_loss(run: RunRecord) -> float | None:
    """Loss on the fixed part of the training data at the end; None where the run diverged."""
    return run.last.train_eval_loss if run.status == FINISHED and run.last is not None else None
