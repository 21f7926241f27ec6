"""What one run of an experiment leaves behind, and the file of them; imports no torch."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from curvestep.bench.errors import StoreError
from curvestep.bench.regimes.plan import AnyCase, Experiment

ROWS = "rows.jsonl"

CONVERGED = "converged"
FINISHED = "finished"
DIVERGED = "diverged"


@final
@dataclass(frozen=True)
class Row:
    """One run.

    Args:
        experiment: which.
        case: the fields of its case; rows of equal case are the same run.
        ended: "converged" (the gradient became as small as asked for), "finished" (all steps were taken), "diverged" (a
            loss was not finite).
        steps: number of steps taken.
        first, last: training loss before the first and after the last step; None if it is not finite.
        worst: the largest moving average of batch losses (factor 0.9) behind the first ten steps, or the largest loss
            where there are no batches; None if none was finite.
        numbers: what else was measured, by name.
        outcomes: how often a step ended in each way.
        curve: (step, moving average of the batch loss), thinned.
        seconds: time of the run.
        revision: git revision of the library.
    """

    experiment: str
    case: dict[str, Any]
    ended: str
    steps: int
    first: float | None
    last: float | None
    worst: float | None
    numbers: dict[str, float | None] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    curve: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    revision: str | None = None

    @property
    def key(self) -> str:
        """Equal for equal runs."""
        return row_key(self.experiment, self.case)

    @property
    def ran_away(self) -> bool:
        """Whether a loss was not finite, or the training loss ended no lower than it began, or rose to twice that."""
        if self.ended == DIVERGED or self.last is None or self.first is None or self.worst is None:
            return True
        return self.last >= self.first or self.worst > 2.0 * self.first


def row_key(experiment: str, case: dict[str, Any]) -> str:
    """The key of a case."""
    return json.dumps([experiment, case], sort_keys=True)


def case_key(experiment: Experiment, case: AnyCase) -> str:
    """The key of the row that a case will leave."""
    return row_key(experiment, asdict(case))


@final
@dataclass(frozen=True)
class RegimeStore:
    """A file with one JSON line a row.

    Args:
        folder: made by the first row.
    """

    folder: Path

    def read(self) -> tuple[Row, ...]:
        """All rows in the order of their first run; of equal keys the newest.

        Returns:
            The rows; none if there is no file.

        Raises:
            StoreError: if a line other than a torn last one is no row.
        """
        path = self.folder / ROWS
        if not path.exists():
            return ()
        lines = path.read_text(encoding="utf-8").split("\n")
        rows: dict[str, Row] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                if number == len(lines):  # a kill in the middle of a write leaves a line without an end
                    continue
                raise StoreError(f"Line {number} of {path} is no run of an experiment; remove that line.") from error
            rows[row.key] = row
        return tuple(rows.values())

    def append(self, row: Row) -> None:
        """Add a row.

        Args:
            row: the run.

        Raises:
            StoreError: if the folder cannot be written.
        """
        path = self.folder / ROWS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = path.read_text(encoding="utf-8") if path.exists() else ""
            whole = content[: content.rfind("\n") + 1]
            line = json.dumps(_rounded(asdict(row)), ensure_ascii=False, allow_nan=False)
            if whole == content:
                with path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                return
            beside = path.with_name(path.name + ".new")
            beside.write_text(whole + line + "\n", encoding="utf-8")
            os.replace(beside, path)
        except OSError as error:
            raise StoreError(
                f"The folder {self.folder} could not be written ({error.strerror or error}); give another with --out."
            ) from error


def _rounded(value: Any) -> Any:
    """Numbers with six digits, and null for those that are not finite; the case keeps its own."""
    if isinstance(value, dict):
        return {name: each if name == "case" else _rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
