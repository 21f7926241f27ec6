"""What one measurement of the overhead leaves behind, and the file of them; imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from curvestep.bench.errors import StoreError
from curvestep.bench.overhead.quiet import MOST

ROWS = "rows.jsonl"
ENVIRONMENT = "environment.json"


@final
@dataclass(frozen=True)
class Row:
    """One way of taking a step on one network.

    Args:
        machine: processor or accelerator, and threads; a row is repeated on another machine.
        subject: name of network and batch.
        method: name of the way.
        gives: what is known after the step beside the gradient.
        baseline: the plain step that it is compared with.
        pairs: number of interleaved pairs; 0 where the way does not apply.
        low, median, high: quartiles of the ratio of times in a pair.
        memory: peak of allocated bytes over that of the plain step.
        products: multiply-adds of matrix products and convolutions that ran, over those of the plain step; None where
            some ran in a kernel that hides them.
        predicted: the same ratio as ``curvestep.doctor`` predicts it; None where it predicts none.
        plain_seconds: median time of the plain step.
        batch: number of samples; 0 where that was not noted.
        error: relative error of the curvature of the batch along the gradient, against float64.
        error_per_sample: largest error of a sample's curvature over the largest absolute value of one.
        compile_seconds: what the first steps took beyond the time of later ones, where they compile.
        waited: how long threads were ready to run and had no processor, over the time of the pairs; None where the
            system does not count that.
        skipped: why the way does not apply, empty where it does.
        axis, value: what of the network was varied to see how the cost grows, and its value; "" and 0 elsewhere.
        revision: git revision of the library.
        source: digest of the source that the way runs.
    """

    machine: str
    subject: str
    method: str
    gives: str
    baseline: str
    pairs: int = 0
    low: float | None = None
    median: float | None = None
    high: float | None = None
    memory: float | None = None
    products: float | None = None
    predicted: float | None = None
    plain_seconds: float | None = None
    batch: int = 0
    error: float | None = None
    error_per_sample: float | None = None
    compile_seconds: float | None = None
    waited: float | None = None
    skipped: str = ""
    axis: str = ""
    value: int = 0
    revision: str | None = None
    source: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Rows of equal key are the same measurement."""
        return self.machine, self.subject, self.method

    @property
    def disturbed(self) -> bool:
        """Whether other work was in the way, so that its times are not to be relied on."""
        return self.waited is not None and self.waited > MOST


@final
@dataclass(frozen=True)
class RowStore:
    """A folder with one JSON line a row, and the environment of each machine.

    Args:
        folder: made by the first row.
    """

    folder: Path

    def read(self) -> tuple[Row, ...]:
        """All rows in the order in which they were first measured; of equal keys the newest.

        Returns:
            The rows; none if there is no file.

        Raises:
            StoreError: if a line other than a torn last one is no row.
        """
        path = self.folder / ROWS
        if not path.exists():
            return ()
        lines = path.read_text(encoding="utf-8").split("\n")
        rows: dict[tuple[str, str, str], Row] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                if number == len(lines):  # a kill in the middle of a write leaves a line without an end
                    continue
                raise StoreError(f"Line {number} of {path} is no row of the overhead; remove that line.") from error
            rows[row.key] = row
        return tuple(rows.values())

    def append(self, row: Row, environment: dict[str, Any]) -> None:
        """Add a row, and its machine if that is new.

        Args:
            row: the measurement.
            environment: of its machine.

        Raises:
            StoreError: if the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            machines = {**self.environments(), row.machine: environment}
            _write_whole(self.folder / ENVIRONMENT, json.dumps(machines, indent=1, ensure_ascii=False) + "\n")
            path = self.folder / ROWS
            content = path.read_text(encoding="utf-8") if path.exists() else ""
            whole = content[: content.rfind("\n") + 1]
            line = json.dumps(_rounded(asdict(row)), ensure_ascii=False)
            if whole == content:
                with path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            else:
                _write_whole(path, whole + line + "\n")
        except OSError as error:
            raise StoreError(
                f"The folder {self.folder} could not be written ({error.strerror or error}); give another with --out."
            ) from error

    def environments(self) -> dict[str, dict[str, Any]]:
        """What each machine is."""
        path = self.folder / ENVIRONMENT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_whole(path: Path, text: str) -> None:
    """Replace a file at once."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Numbers with four digits, more than a ratio of times has."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in fields.items()}


def machines(rows: Sequence[Row]) -> list[str]:
    """The machines in the order of their first row."""
    return list(dict.fromkeys(row.machine for row in rows))
