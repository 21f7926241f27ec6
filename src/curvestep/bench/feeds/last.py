"""The feed of the last run, kept for the next one: many short runs on one task read their data once."""

from __future__ import annotations

import dataclasses
from typing import Any, final

from curvestep.bench.task import Feed, LoadRequest, Task


@final
class LastFeed:
    """One feed, given again for a request that differs from its own in the seed alone."""

    def __init__(self) -> None:
        self._key: tuple[str, LoadRequest] | None = None
        self._feed: Any = None

    def load(self, task: Task, request: LoadRequest) -> Feed:
        """The feed of a request."""
        key = task.name, dataclasses.replace(request, seed=0)
        if key != self._key:
            # The old one goes first: two large data sets need not fit into memory at a time.
            self._key = self._feed = None
            self._feed = task.load(request)
            self._key = key
        # Feeds are frozen records in which the seed decides the order alone.
        return dataclasses.replace(self._feed, seed=request.seed)
