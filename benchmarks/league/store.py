"""The league's store: one JSON line a trial, appended under a lock, readable after a kill."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.league.trial import Trial

Key = tuple[str, str, int, float]


@dataclass(frozen=True)
class Store:
    """A file of trials; of trials with equal keys the last one counts.

    Args:
        path: the file; it is made by the first append.
    """

    path: Path

    def append(self, trial: Trial) -> None:
        """Add a trial with one write, forced to the disk."""
        line = json.dumps(trial.to_json(), separators=(",", ":"), allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # a line that a kill cut off; it ends here and readers skip it
                    file.write(b"\n")
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> dict[Key, Trial]:
        """Return the trials by key; lines that are not whole are left out."""
        trials: dict[Key, Trial] = {}
        if not self.path.exists():
            return trials
        for line in self.path.read_text().splitlines():
            try:
                trial = Trial.from_json(json.loads(line))
            except (ValueError, TypeError, KeyError):
                continue
            trials[trial.key] = trial
        return trials
