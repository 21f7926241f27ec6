"""`shakespeare-gpt`: the next character of Tiny Shakespeare, a small transformer."""

from __future__ import annotations

from curvestep.bench.networks.specs import GPTSpec
from curvestep.bench.task import Feed, LoadRequest, Scale, Task

# Tiny Shakespeare has 65 different characters; another text is refused, its losses would not be comparable.
_CHARACTERS = 65


def _load(request: LoadRequest) -> Feed:
    """Random windows of the text."""
    from curvestep.bench.data.text import tinyshakespeare
    from curvestep.bench.feeds.windows import WindowFeed

    return WindowFeed.over(tinyshakespeare(request.data_dir, _CHARACTERS), request)


def _scale(blocks: int, width: int, context: int, batch_size: int, epochs: int) -> Scale:
    """A transformer with four heads whose context is the window of the feed."""
    network = GPTSpec(_CHARACTERS, context, blocks, width, heads=4)
    return Scale(network=network, batch_size=batch_size, epochs=epochs, window=context)


SHAKESPEARE_GPT = Task(
    name="shakespeare-gpt",
    description="Tiny Shakespeare by characters, pre-norm GPT, cross-entropy; an epoch is 50 steps",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.95,
    scales={
        "paper": _scale(blocks=4, width=128, context=128, batch_size=32, epochs=40),  # 2,000 steps
        "small": _scale(blocks=3, width=96, context=64, batch_size=24, epochs=16),  # 800 steps
    },
    load=_load,
)
