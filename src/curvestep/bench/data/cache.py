"""Decoded data sets as files of tensors: written atomically, made again when broken."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from curvestep.bench.errors import CacheWarning

CACHE_VARIABLE = "CURVESTEP_CACHE"
Tensors = dict[str, Tensor]


def cache_dir() -> Path:
    """The folder of the cache: ``CURVESTEP_CACHE``, else the user's cache folder of the system."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "curvestep"


def cached(name: str, fingerprint: str, names: tuple[str, ...], build: Callable[[], Tensors]) -> Tensors:
    """Return the tensors of a data set by name, from the cache or from ``build``.

    Warns:
        CacheWarning: if the cached file is broken (it is replaced) or cannot be written (the data is used uncached).
    """
    path = cache_dir() / f"{name}-{fingerprint}.pt"
    if path.exists():
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            return {name: tensors[name] for name in names}
        # A truncated or foreign file raises whatever the unpickler meets first.
        except Exception as error:
            warnings.warn(
                f"The cached copy of {name} was broken and is made again ({type(error).__name__}).",
                CacheWarning,
                stacklevel=2,
            )
    tensors = build()
    try:
        _write(path, tensors)
    except OSError as error:
        warnings.warn(
            f"The decoded copy of {name} could not be cached ({error.strerror or error}); "
            f"it will be decoded again next time. {CACHE_VARIABLE} names another folder.",
            CacheWarning,
            stacklevel=2,
        )
    return tensors


def _write(path: Path, tensors: Tensors) -> None:
    """Write beside the final name and rename, so that no reader ever sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(tensors, file)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
