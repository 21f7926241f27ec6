"""Where a data set comes from: a local folder or the hub, opened by the same call of `datasets`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curvestep.bench.errors import DataError

DATA_VARIABLE = "CURVESTEP_DATA"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A data set and its two homes."""

    name: str  # its folder inside the data folder
    kind: Literal["parquet", "text"]  # ``parquet`` files, or one ``text`` file
    files: Mapping[str, str]  # pattern of the files of each split inside the folder
    hub: str  # its name on the hub
    hub_revision: str | None  # branch on the hub, None for the default one
    hub_splits: Mapping[str, tuple[str, ...]]  # the hub's splits that make up each of ours, in order
    image: str | None = None  # name of the column to decode as an image, if any


@dataclass(frozen=True)
class Opened:
    """A data set that was found."""

    fingerprint: str  # equal exactly for equal content (local files) or equal name and branch (hub)
    source: Source  # its description
    local: Mapping[str, tuple[Path, ...]] | None  # local files of each split, None for the hub

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of one split, a mapping from column to value each.

        Raises:
            DataError: if a file is broken or the hub cannot be reached.
        """
        try:
            for table in self._tables(split):
                yield from table
        except DataError:
            raise
        except ImportError as error:
            raise DataError(
                f"Reading {self.source.name} needs the packages of the benchmarks ({error}); "
                'install them with: pip install "curvestep[bench]".'
            ) from error
        # What a broken file or a missing network raises depends on the reader (arrow, image decoder, http client).
        except Exception as error:
            raise DataError(self._sentence(error)) from error

    def _tables(self, split: str) -> Iterator[Iterable[Row]]:
        """The tables of one split; local files are streamed, because the tensor cache is the only copy to keep."""
        import datasets

        # `datasets` types its tables for every layout it has; those opened here give rows as mappings.
        opened: Any
        if self.local is not None:
            files = {split: [str(path) for path in self.local[split]]}
            if self.source.kind == "text":
                opened = datasets.load_dataset("text", data_files=files, sample_by="document", streaming=True)
            else:
                opened = datasets.load_dataset("parquet", data_files=files, streaming=True)
            yield self._decoding(opened[split])
            return
        opened = datasets.load_dataset(self.source.hub, revision=self.source.hub_revision)
        for name in self.source.hub_splits[split]:
            yield self._decoding(opened[name])

    def _decoding(self, table: Any) -> Iterable[Row]:
        """The table with its image column decoded, also where the file does not say that it is one."""
        import datasets

        column = self.source.image
        if column is None or column not in (table.column_names or ()):
            return table
        return table.cast_column(column, datasets.Image())

    def _sentence(self, error: Exception) -> str:
        """What went wrong and what to do about it."""
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        if self.local is not None:
            return (
                f"The local copy of {self.source.name} is broken ({why}); "
                f"copy it again, or leave out --data-dir and {DATA_VARIABLE} to read it from the hub."
            )
        return (
            f"{self.source.name} could not be read from the hub as {self.source.hub!r} ({why}); "
            f"check the network, or give a folder that holds {self.source.name}/ with --data-dir or {DATA_VARIABLE}. "
            "The task digits-mlp needs no download."
        )


def open_source(source: Source, data_dir: Path | None) -> Opened:
    """Return the data set in a folder, else in that of ``CURVESTEP_DATA``, else on the hub; nothing is read yet.

    Raises:
        DataError: if a folder was named but does not exist or lacks the data set.
    """
    folder = data_dir if data_dir is not None else _folder_of_environment()
    if folder is None:
        branch = source.hub_revision or "default"
        return Opened(_digest([source.name.encode(), source.hub.encode(), branch.encode()]), source, None)
    if not folder.is_dir():
        raise DataError(
            f"The data folder {folder} given by --data-dir or {DATA_VARIABLE} does not exist; "
            f"give one that holds {source.name}/, or leave it out to read {source.name} from the hub."
        )
    local: dict[str, tuple[Path, ...]] = {}
    for split, pattern in source.files.items():
        found = tuple(sorted((folder / source.name).glob(pattern)))
        if not found:
            raise DataError(
                f"The data folder {folder} has no {source.name}/{pattern}; "
                f"put {source.name} there, or leave out --data-dir and {DATA_VARIABLE} to read it from the hub."
            )
        local[split] = found
    return Opened(_digest([source.name.encode(), *_contents(local)]), source, local)


def _folder_of_environment() -> Path | None:
    """The folder that the environment names, if any."""
    value = os.environ.get(DATA_VARIABLE)
    return Path(value) if value else None


def _contents(local: Mapping[str, tuple[Path, ...]]) -> Iterator[bytes]:
    """Names and contents of the files; hashing them costs a tenth of a second, decoding them minutes."""
    for split, paths in local.items():
        for path in paths:
            yield f"{split}/{path.name}".encode()
            try:
                yield path.read_bytes()
            except OSError as error:
                raise DataError(f"The data file {path} could not be read ({error.strerror or error}).") from error


def _digest(parts: Iterable[bytes]) -> str:
    """16 hexadecimal digits over the parts and their lengths."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
