"""A run in progress as a file, written at the end of each epoch, so that a kill costs the epoch in flight alone."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from curvestep.bench.errors import StoreError, StoreWarning


def checkpoint_path(folder: Path, key: str) -> Path:
    """Return the file of the run with these settings."""
    return folder / f"{key}.part.pt"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the final name and rename, so that a kill leaves the old state or the new one.

    Raises:
        StoreError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".new")
        try:
            with os.fdopen(descriptor, "wb") as file:
                torch.save(state, file)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    # A full disk is an OSError where Python writes and a RuntimeError where torch does.
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StoreError(
            f"The state of a run could not be written to {path} ({why}); what is in the store is kept. "
            "Make room, or give another folder with --out, and run the command again."
        ) from error


def read_checkpoint(path: Path, key: str, revision: str | None) -> dict[str, Any] | None:
    """Return the state of the run with these settings; None where there is none, or none of this version.

    Warns:
        StoreWarning: if a file is there and cannot be used; the run then begins anew.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = {"other settings": state["key"] == key, "another version of curvestep": state["revision"] == revision}
    # A truncated or foreign file raises whatever the unpickler meets first.
    except Exception:
        state, known = None, {}
    wrong = [f"it is of {what}" for what, right in known.items() if not right]
    if state is not None and not wrong:
        return state
    why = wrong[0] if wrong else "it cannot be read"
    warnings.warn(
        f"The state of a run in {path} is left aside: {why}. The run begins anew.", StoreWarning, stacklevel=2
    )
    return None
