"""`shakespeare-lstm`: the next character of Tiny Shakespeare, a recurrent network."""

from __future__ import annotations

from curvestep.bench.networks.specs import LSTMSpec
from curvestep.bench.task import Scale, Task
from curvestep.bench.tasks.shakespeare import CHARACTERS, load_shakespeare

SHAKESPEARE_LSTM = Task(
    name="shakespeare-lstm",
    description="Tiny Shakespeare by characters, LSTM, cross-entropy; an epoch is 50 steps",
    loss="cross_entropy",
    has_accuracy=True,
    smoothing=0.95,
    scales={
        "paper": Scale(network=LSTMSpec(CHARACTERS, 512, 2), batch_size=32, epochs=40, window=128),  # 2,000 steps
        "small": Scale(network=LSTMSpec(CHARACTERS, 128, 1), batch_size=32, epochs=10, window=48),  # 500 steps
    },
    load=load_shakespeare,
)
