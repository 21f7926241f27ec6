"""Tiny Shakespeare as a tensor of character numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from curvestep.bench.data.cache import Tensors, cached
from curvestep.bench.data.sources import Source, open_source
from curvestep.bench.errors import DataError

# The hub keeps the text as 90 + 5 + 5 % under its automatic parquet branch; together they are the file.
_TINYSHAKESPEARE = Source(
    name="tinyshakespeare",
    kind="text",
    files={"all": "input.txt"},
    hub="karpathy/tiny_shakespeare",
    hub_revision="refs/convert/parquet",
    hub_splits={"all": ("train", "validation", "test")},
)
_NAMES = ("tokens", "vocabulary")


@dataclass(frozen=True)
class TextCorpus:
    """A text as numbers."""

    fingerprint: str  # which data this is
    tokens: Tensor  # (N,) uint8, the place of each character in ``vocabulary``
    vocabulary: str  # the different characters, sorted


def tinyshakespeare(data_dir: Path | None, characters: int) -> TextCorpus:
    """Return Tiny Shakespeare, 1,115,394 characters, ``characters`` of them different.

    Raises:
        DataError: if it is missing, broken, or another text.
    """
    opened = open_source(_TINYSHAKESPEARE, data_dir)

    def build() -> Tensors:
        text = "".join(row["text"] for row in opened.rows("all"))
        vocabulary = sorted(set(text))
        if len(vocabulary) != characters:
            raise DataError(
                f"tinyshakespeare was expected to have {characters} different characters, "
                f"this text has {len(vocabulary)}; copy the hub's {opened.source.hub}."
            )
        place = {character: index for index, character in enumerate(vocabulary)}
        return {
            "tokens": torch.tensor([place[character] for character in text], dtype=torch.uint8),
            "vocabulary": torch.tensor([ord(character) for character in vocabulary]),
        }

    tensors = cached(opened.source.name, opened.fingerprint, _NAMES, build)
    vocabulary = "".join(chr(code) for code in tensors["vocabulary"].tolist())
    return TextCorpus(opened.fingerprint, tensors["tokens"], vocabulary)
