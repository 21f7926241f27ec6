"""The store of results: a text file of JSON lines, appended under a lock, readable after a kill at any moment."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, Protocol, TypeVar, final

from curvestep.bench.errors import StoreError, StoreWarning

try:
    import fcntl
except ImportError:  # Windows has no such lock: there, one process at a time may write to a store
    fcntl = None


class Line(Protocol):
    """What can be a line of a store."""

    @property
    def key(self) -> Hashable:
        """Lines of equal key are the same measurement."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON object."""
        ...

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Any:
        """The line read back; ValueError if it is none."""
        ...


class Row:
    """Base of frozen dataclasses whose fields are JSON already."""

    DIGITS: ClassVar[int] = 6  # significant digits that a float keeps; one that is not finite becomes null

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return rounded(dataclasses.asdict(self), self.DIGITS)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Any:
        """Return the row with the fields that `to_json` gave.

        Raises:
            ValueError: if a field is missing or unknown.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(f"its fields are not those of {cls.__name__} ({error})") from error


LineT = TypeVar("LineT", bound=Line)


@final
@dataclass(frozen=True)
class Store(Generic[LineT]):
    """A file of lines of one kind.

    Lines enter with one write followed by `fsync`, under a lock, so a reader sees all of a line or, if the process was
    killed inside that write, a last line without an end. Readers skip such a torn line with a warning; the next
    append removes it.

    Example:
        >>> import tempfile
        >>> from curvestep.bench.record import RunRecord
        >>> Store(Path(tempfile.mkdtemp()) / "runs.jsonl", RunRecord).read()
        ()
    """

    path: Path  # the file; it and its folder are made by `open` or the first `append`
    kind: type[LineT]  # the class of its lines

    def open(self) -> None:
        """Make the file, so that a folder that cannot be written is known before the work begins; StoreError if so."""
        self.append()

    def append(self, *lines: LineT) -> None:
        """Add lines in one write.

        Raises:
            StoreError: if the file cannot be written.

        Warns:
            StoreWarning: if a torn last line was removed.
        """
        text = "".join(
            json.dumps(line.to_json(), separators=(",", ":"), allow_nan=False, ensure_ascii=False) + "\n"
            for line in lines
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file, _locked(file, shared=False):
                self._mend_end(file)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"The store {self.path} could not be written ({error.strerror or error}); "
                "give another folder with --out."
            ) from error

    def read(self) -> tuple[LineT, ...]:
        """Return the lines in the order in which their keys first came; of equal keys the newest.

        Raises:
            StoreError: if the file exists and cannot be read.

        Warns:
            StoreWarning: once for each line that is not a complete one; that line is skipped.
        """
        if not self.path.exists():
            return ()
        try:
            with self.path.open("rb") as file, _locked(file, shared=True):
                texts = file.read().split(b"\n")
        except OSError as error:
            raise StoreError(f"The store {self.path} could not be read ({error.strerror or error}).") from error
        found: dict[Hashable, LineT] = {}
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                continue
            try:
                line = self._parsed(text)
            except ValueError as error:
                torn = number == len(texts)
                why = "it was not written to its end, as after a kill" if torn else str(error).rstrip(".")
                warnings.warn(f"Line {number} of {self.path} was skipped: {why}.", StoreWarning, stacklevel=2)
                continue
            found[line.key] = line
        return tuple(found.values())

    def keys(self) -> frozenset[Hashable]:
        """The keys of the lines that are already there."""
        return frozenset(line.key for line in self.read())

    def _parsed(self, text: bytes) -> LineT:
        """A line from its text; ValueError if it is none."""
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("it is not a JSON object")
        return self.kind.from_json(data)

    def _mend_end(self, file: BinaryIO) -> None:
        """End a last line that lacks only its end; remove one that lacks more, with a warning."""
        file.seek(0)
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end == len(content):
            return
        try:
            self._parsed(content[end:])
        except ValueError:
            message = f"The last line of {self.path} was not written to its end, as after a kill, and was removed."
            warnings.warn(message, StoreWarning, stacklevel=3)
            file.truncate(end)
        else:
            file.write(b"\n")


@contextmanager
def _locked(file: BinaryIO, *, shared: bool) -> Iterator[None]:
    """Hold the file's lock: readers share it, a writer has it alone. The system frees it when a process dies."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)


def rounded(value: Any, digits: int) -> Any:
    """A copy in which floats have so many significant digits, and those that are not finite are None."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: rounded(item, digits) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return value
