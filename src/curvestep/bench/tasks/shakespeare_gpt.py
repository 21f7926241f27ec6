"""`shakespeare-gpt`: the next character of Tiny Shakespeare, a small transformer."""

from __future__ import annotations

from curvestep.bench.networks.specs import GPTSpec
from curvestep.bench.task import Scale, Task
from curvestep.bench.tasks.shakespeare import CHARACTERS, load_shakespeare


def _scale(blocks: int, width: int, context: int, batch_size: int, epochs: int) -> Scale:
    """A transformer with four heads whose context is the window of the feed."""
    network = GPTSpec(CHARACTERS, context, blocks, width, heads=4)
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
    load=load_shakespeare,
)
