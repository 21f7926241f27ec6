"""Whether other work on the machine was in the way of a measurement."""

from __future__ import annotations

import time
from pathlib import Path
from typing import final

_TASKS = Path("/proc/self/task")

#: A row whose threads waited longer is measured again with `--stale`.
MOST = 0.1


@final
class Waiting:
    """How long threads of this process were ready to run while the processors did something else.

    With two threads on two processors, of which other work takes one, every operation waits at its end for the thread
    that did not run: a step of milliseconds then takes up to hundreds, and a ratio of two steps is chance. Linux counts
    that time for each thread.
    """

    def __init__(self) -> None:
        self._start = _waited()
        self._since = time.perf_counter()

    def share(self) -> float | None:
        """Seconds waited, of all threads together, over the seconds since; None where the system does not count."""
        now = _waited()
        seconds = time.perf_counter() - self._since
        return None if now is None or self._start is None else max(0.0, now - self._start) / seconds


def _waited() -> float | None:
    """Seconds that the threads of this process have waited for a processor so far."""
    total = 0
    try:
        for task in _TASKS.iterdir():
            try:
                total += int((task / "schedstat").read_text(encoding="ascii").split()[1])
            except FileNotFoundError:
                continue  # a thread that has just ended
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9
