"""What a line search beside a step left behind, and the file of them; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from curvestep.bench.errors import StoreError

LOOKS = "line.jsonl"


@final
@dataclass(frozen=True)
class Look:
    """One step of LQA beside the best step along the same gradient on the same batch.

    Args:
        task: name of the task, at the small scale.
        seed: of the run.
        step: 1-based number of the step.
        first: loss of the batch before the step.
        least: the least loss found along the gradient.
        reached: loss of the batch after the step.
        best_step: where the least loss was found, in units of the gradient.
        step_size: LQA's step.
        outcome: of LQA's step, by name.
        revision: git revision of the library, where it was noted.
    """

    task: str
    seed: int
    step: int
    first: float
    least: float
    reached: float
    best_step: float
    step_size: float | None
    outcome: str
    revision: str | None = None

    @property
    def share(self) -> float:
        """The decrease as a share of the best one; below 0 where the loss rose."""
        return (self.first - self.reached) / (self.first - self.least)


@final
@dataclass(frozen=True)
class LookStore:
    """A file with one JSON line a look; a run's looks are added at once.

    Args:
        folder: made by the first run.
    """

    folder: Path

    def read(self) -> tuple[Look, ...]:
        """All looks.

        Returns:
            The looks; none if there is no file.

        Raises:
            StoreError: if a line is no look.
        """
        path = self.folder / LOOKS
        if not path.exists():
            return ()
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                found.append(Look(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise StoreError(f"Line {number} of {path} is no look at a step; remove that line.") from error
        return tuple(found)

    def append(self, looks: Sequence[Look]) -> None:
        """Add the looks of a run, in one write.

        Args:
            looks: what was seen.

        Raises:
            StoreError: if the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / LOOKS).open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(asdict(look)) + "\n" for look in looks))
        except OSError as error:
            raise StoreError(
                f"The folder {self.folder} could not be written ({error.strerror or error}); give another with --out."
            ) from error
