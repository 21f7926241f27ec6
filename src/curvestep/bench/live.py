"""A run in progress: JSON lines beside the store, which grow while the run does and go when it is stored."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from curvestep.bench.config import RunConfig
from curvestep.bench.store import Row

if TYPE_CHECKING:
    from curvestep.bench.measure import StepMeasurement

SUFFIX = ".live.jsonl"
# Seconds between two lines, so that a short step is not slowed down by telling of it.
_PAUSE = 0.2


@final
@dataclass(frozen=True)
class LiveStep(Row):
    """One step of a run in progress; fields as in ``StepSamples``."""

    step: int
    steps: int  # length of the run
    seconds: float
    loss_ema: float | None
    step_size: float | None
    curvature: float | None
    outcomes: dict[str, int]  # of all steps up to here


def run_stem(store: Path, config: RunConfig) -> Path:
    """Return the path that a run's own files begin with, beside its store."""
    rate = "" if config.lr is None else f"-lr{config.lr:g}"
    return store.parent / f"{config.task}-{config.method}{rate}-seed{config.seed}"


def live_path(stem: Path) -> Path:
    """Return the file of a run in progress."""
    return stem.with_name(stem.name + SUFFIX)


@final
class LiveFile:
    """Writes a run in progress, a line every fifth of a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = -_PAUSE
        self._outcomes: Counter[str] = Counter()

    def write(self, seen: StepMeasurement, steps: int) -> None:
        """Note a step; the first one begins the file anew."""
        if seen.outcome is not None:
            self._outcomes[seen.outcome] += 1
        now = time.monotonic()
        if seen.step not in (1, steps) and now - self._last < _PAUSE:
            return
        self._last = now
        row = LiveStep(
            seen.step, steps, seen.seconds, seen.loss_ema, seen.step_size, seen.curvature, dict(self._outcomes)
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w" if seen.step == 1 else "a", encoding="utf-8") as file:
            file.write(json.dumps(row.to_json()) + "\n")

    def remove(self) -> None:
        """The run is in the store."""
        self.path.unlink(missing_ok=True)


def read_live(path: Path) -> tuple[LiveStep, ...]:
    """Return the steps so far, without a last line that is only half there; none where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    return tuple(LiveStep.from_json(json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n"))
