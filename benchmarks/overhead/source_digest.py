"""Which source files a row depends on, as a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

import curvestep

# What takes no part in a step.
_ASIDE = ("bench", "report", "cli", "diagnostics", "integrations")
_HARNESS = ("prepared.py", "cases.py", "own_steps.py", "compiled_steps.py")
_PEERS = (*_HARNESS, "peer_steps.py")


@cache
def digest(depends: Literal["library", "peers"]) -> str:
    """Twelve hexadecimal digits that change with any of the files.

    Args:
        depends: "library": everything that a step of curvestep runs; "peers": steps that do without.

    Returns:
        The start of a SHA-256.
    """
    package = Path(str(curvestep.__file__)).resolve().parent
    here = Path(__file__).resolve().parent
    files = [here / name for name in (_HARNESS if depends == "library" else _PEERS)]
    files += sorted((package / "bench" / "networks").glob("*.py"))
    if depends == "library":
        files += sorted(path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in _ASIDE)
    return _digest(files)


def _digest(files: Iterable[Path]) -> str:
    """Names and contents."""
    found = hashlib.sha256()
    for path in files:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]
