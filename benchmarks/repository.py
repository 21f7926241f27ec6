"""Where stores and pages are in the repository, and how a page is written."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterable
from pathlib import Path

from curvestep.bench.store import LineT, Store

ROOT = Path(__file__).resolve().parent.parent
STORES = ROOT / "benchmarks" / "stores"
DOCS = ROOT / "docs"
FIGURES = DOCS / "figures"


def rows(folder: Path, kind: type[LineT]) -> Store[LineT]:
    """The store of a command: `rows.jsonl` in its folder."""
    return Store(folder / "rows.jsonl", kind)


def current(store: Store[LineT], keys: Iterable[Hashable]) -> list[LineT]:
    """The lines of the store with these keys, in their order: what the plan of a command asks for, as far as it is."""
    held = {line.key: line for line in store.read()}
    return [held[key] for key in keys if key in held]


def limit(error: float) -> float:
    """What stands in the place of an error, whose digits are rounding and differ from one machine to the next.

    Returns:
        The least of 1e-12, 1e-9, 1e-8, 1e-6, 1e-3 and 1 that is not below it; infinity above.
    """
    return next((each for each in (1e-12, 1e-9, 1e-8, 1e-6, 1e-3, 1.0) if error <= each), math.inf)


def bound(error: float) -> str:
    """The limit of an error.

    Returns:
        As pages print it.

    Example:
        >>> bound(4.1e-16), bound(2e-11), bound(3e-7), bound(0.5)
        ('≤ 1e-12', '≤ 1e-9', '≤ 1e-6', '≤ 1')
    """
    return f"≤ {limit(error):.0e}".replace("e-0", "e-").replace("1e+00", "1")


def write(page: Path, text: str) -> None:
    """Write a page and say so."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(shown(page))


def shown(path: Path) -> str:
    """The path as seen from the working directory, where it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
