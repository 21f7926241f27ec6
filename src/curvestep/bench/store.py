"""The run store: one JSON line a run, appended under a lock, readable after a kill at any moment."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import final

from curvestep.bench.errors import StoreError, StoreWarning
from curvestep.bench.record import RunRecord

STORE_NAME = "runs.jsonl"


@final
@dataclass(frozen=True)
class RunStore:
    """A file of runs.

    A run enters with one write followed by ``fsync``, so a reader sees all of it or, if the machine stopped inside that
    write, a last line without an end. Readers skip such a torn line with a warning; the next append removes it.

    Args:
        path: the file; it and its folder are made by the first append.

    Example:
        >>> import tempfile
        >>> RunStore(Path(tempfile.mkdtemp()) / "runs.jsonl").read()
        ()
    """

    path: Path

    @classmethod
    def at(cls, path: Path) -> RunStore:
        """The store that a path names.

        Args:
            path: a ``.jsonl`` file, or a folder that holds ``runs.jsonl``.

        Returns:
            The store.
        """
        return cls(path if path.suffix == ".jsonl" else path / STORE_NAME)

    def append(self, record: RunRecord) -> None:
        """Add a run.

        Args:
            record: the run.

        Raises:
            StoreError: if the file cannot be written.
        """
        from filelock import FileLock

        line = (json.dumps(record.to_json(), separators=(",", ":"), allow_nan=False) + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(self.path.name + ".lock")), self.path.open("a+b") as file:
                _mend_end(self.path, file.fileno())
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"The run store {self.path} could not be written ({error.strerror or error}); "
                "give another folder with --out."
            ) from error

    def read(self) -> tuple[RunRecord, ...]:
        """All runs, oldest first; of runs with equal settings only the newest.

        Returns:
            The runs; none if the file does not exist.

        Raises:
            StoreError: if the file exists and cannot be read.

        Warns:
            StoreWarning: once for each line that is not a complete run; that line is skipped.
        """
        if not self.path.exists():
            return ()
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise StoreError(f"The run store {self.path} could not be read ({error.strerror or error}).") from error
        runs: dict[str, RunRecord] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = RunRecord.from_json(json.loads(line))
            except ValueError as error:
                torn = number == len(lines)
                why = "it was not written to its end, as after a kill" if torn else str(error)
                warnings.warn(f"Line {number} of {self.path} was skipped: {why}.", StoreWarning, stacklevel=2)
                continue
            runs.pop(record.config.key, None)
            runs[record.config.key] = record
        return tuple(runs.values())

    def keys(self) -> frozenset[str]:
        """The keys of the settings that are already in the store."""
        return frozenset(record.config.key for record in self.read())


def _mend_end(path: Path, descriptor: int) -> None:
    """End a last line that lacks only its end; remove one that lacks more, with a warning."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end == len(content):
        return
    try:
        RunRecord.from_json(json.loads(content[end:]))
    except ValueError:
        message = f"The last line of {path} was not written to its end, as after a kill, and was removed."
        warnings.warn(message, StoreWarning, stacklevel=3)
        os.ftruncate(descriptor, end)
    else:
        os.write(descriptor, b"\n")
