"""How the tasks on Tiny Shakespeare read their data."""

from __future__ import annotations

from curvestep.bench.task import Feed, LoadRequest

# Tiny Shakespeare has 65 different characters; another text is refused, its losses would not be comparable.
CHARACTERS = 65


def load_shakespeare(request: LoadRequest) -> Feed:
    """Random windows of the text."""
    from curvestep.bench.data.text import tinyshakespeare
    from curvestep.bench.feeds.windows import WindowFeed

    return WindowFeed.over(tinyshakespeare(request.data_dir, CHARACTERS), request)
