"""One run as a piece of work that can be sent to another process or machine; imports torch when it is done."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from curvestep.bench.config import RunConfig
from curvestep.bench.record import RunRecord

if TYPE_CHECKING:
    from curvestep.bench.feeds.last import LastFeed
    from curvestep.bench.runner import Progress


@final
@dataclass(frozen=True)
class Job:
    """A run to make.

    Args:
        config: its settings.
        give_up: a tuning run is over above so many times its first loss; infinite for the others.
        data_dir: folder of local data sets.
        features: folder of features for the linear probe.
        unfinished: folder in which the states of runs in progress are.
        deadline: time of the clock at which the work stops; infinite for never.
        threads: of torch.
    """

    config: RunConfig
    give_up: float
    data_dir: Path | None
    features: Path | None
    unfinished: Path
    deadline: float
    threads: int


class _OutOfTime(Exception):
    """The deadline is over."""


_KEPT: dict[tuple[Path | None, Path | None], LastFeed] = {}


def _feeds(job: Job) -> LastFeed:
    """The last feed of this process, for data in the same place."""
    from curvestep.bench.feeds.last import LastFeed

    place = job.data_dir, job.features
    if place not in _KEPT:
        _KEPT.clear()
        _KEPT[place] = LastFeed()
    return _KEPT[place]


def work(job: Job) -> RunRecord | None:
    """Make a run, from its last epoch on if it was begun.

    Args:
        job: which.

    Returns:
        Its record; None if the deadline came first, and what was done up to the last epoch is kept.
    """
    import torch

    from curvestep.bench.checkpoint import checkpoint_path
    from curvestep.bench.data.features import FEATURES_VARIABLE
    from curvestep.bench.runner import run

    if time.time() >= job.deadline:
        return None
    if job.features is not None:
        os.environ[FEATURES_VARIABLE] = str(job.features)

    def stepped(_: Progress) -> None:
        if time.time() >= job.deadline:
            raise _OutOfTime

    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    path = checkpoint_path(job.unfinished, job.config.key)
    listened = stepped if math.isfinite(job.deadline) else None
    try:
        return run(job.config, job.data_dir, listened, checkpoint=path, give_up=job.give_up, feeds=_feeds(job))
    except _OutOfTime:
        return None
    finally:
        torch.set_num_threads(before)
