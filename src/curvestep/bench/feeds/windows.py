"""Batches of random windows of a text: the input is a window, the target the same window one character later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from curvestep.bench.data.text import TextCorpus
from curvestep.bench.errors import SettingError
from curvestep.bench.feeds.order import epoch_generator
from curvestep.bench.task import Batch, LoadRequest, Split

# Random windows have no natural epoch; this many steps make one for reporting.
STEPS_PER_EPOCH = 50
_TRAIN_SHARE = 0.9  # the last tenth of the text is held out
_EVALUATION_WINDOWS = 240
_EVALUATION_BATCH = 24


@final
@dataclass(frozen=True)
class WindowFeed:
    """A text on the device."""

    train: Tensor  # (N,) uint8 on the device
    test: Tensor  # (M,) uint8 on the device
    window: int  # characters in a window
    batch_size: int  # windows in a training batch
    seed: int  # decides where the windows lie
    fingerprint: str  # which data this is

    @classmethod
    def over(cls, corpus: TextCorpus, request: LoadRequest) -> WindowFeed:
        """Return a feed over a text; ``request.train_size`` counts characters.

        Raises:
            SettingError: if the training part is shorter than two windows or longer than the text.
        """
        if request.window is None:
            raise SettingError("A text needs the length of its windows; the scale of the task gives none.")
        cut = int(_TRAIN_SHARE * len(corpus.tokens))
        size = cut if request.train_size is None else request.train_size
        if not 2 * request.window <= size <= cut:
            raise SettingError(
                f"--subset counts characters here and must lie between {2 * request.window} and {cut}; "
                f"{size} was given."
            )
        return cls(
            train=corpus.tokens[:size].to(request.device),
            test=corpus.tokens[cut : cut + size].to(request.device),
            window=request.window,
            batch_size=request.batch_size,
            seed=request.seed,
            fingerprint=corpus.fingerprint,
        )

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps that is reported as an epoch."""
        return STEPS_PER_EPOCH

    def epoch(self, index: int) -> Iterator[Batch]:
        """Yield batches (B, T) of windows at random places."""
        generator = epoch_generator(self.seed, index)
        last = len(self.train) - self.window - 1
        starts = torch.randint(0, last + 1, (STEPS_PER_EPOCH, self.batch_size), generator=generator)
        for row in starts.to(self.train.device):
            yield self._batch(self.train, row)

    def evaluation(self, split: Split, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches (B, T) of windows at evenly spaced places, the same at every call."""
        text = self.train if split == "train" else self.test
        last = len(text) - self.window - 1
        starts = torch.linspace(0, last, _EVALUATION_WINDOWS, dtype=torch.float64).long().to(text.device)
        for part in starts.split(_EVALUATION_BATCH):
            yield self._batch(text, part)

    def _batch(self, text: Tensor, starts: Tensor) -> Batch:
        """Inputs and targets of the windows that start at these places."""
        places = starts[:, None] + torch.arange(self.window + 1, device=text.device)
        windows = text[places].long()
        return Batch(windows[:, :-1], windows[:, 1:])
