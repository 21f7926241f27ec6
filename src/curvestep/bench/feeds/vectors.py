"""Batches of feature vectors, with several views of an image in one batch where repeated augmentation is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from curvestep.bench.data.features import FeatureSet
from curvestep.bench.errors import SettingError
from curvestep.bench.feeds.examples import EVALUATION_SIZE
from curvestep.bench.feeds.order import epoch_generator
from curvestep.bench.task import Batch, LoadRequest, Split

_EVALUATION_BATCH = 2_000


@final
@dataclass(frozen=True)
class VectorFeed:
    """Feature vectors on the device with their classes."""

    train_features: Tensor  # (N, V, D) on the device
    train_labels: Tensor  # (N,) on the device
    test_features: Tensor  # (M, D) on the device
    test_labels: Tensor  # (M,) on the device
    classes: int  # number of classes
    batch_size: int  # vectors in a training batch
    seed: int  # decides the order
    repeated: bool  # whether a batch has every view of its images; else the first one alone
    fingerprint: str  # which data this is
    evaluation_size: int = EVALUATION_SIZE  # at most this many examples of a split are measured

    @classmethod
    def over(cls, data: FeatureSet, request: LoadRequest) -> VectorFeed:
        """Return the feed of a task; a smaller training set also shortens the test set to at most its size.

        Raises:
            SettingError: if subset, batch and views do not fit the data.
        """
        count, views, _ = data.train_features.shape
        size = count if request.train_size is None else request.train_size
        if size > count:
            raise SettingError(f"--subset {size} asks for more than the {count} training examples.")
        if request.batch_size > size:
            raise SettingError(
                f"A batch of {request.batch_size} does not fit into {size} training examples; "
                "give a smaller --batch-size or a larger --subset."
            )
        if request.augmented and views < 2:
            raise SettingError(
                "Repeated augmentation needs several views of each image, train_features.npy of shape (N, V, D) with "
                f"V ≥ 2; it has {tuple(data.train_features[:, 0].shape)}. Extract the views, or run linear-probe."
            )
        if request.augmented and request.batch_size < views:
            raise SettingError(f"A batch of {request.batch_size} cannot hold the {views} views of an image.")
        tests = min(size, len(data.test_features))
        device = request.device
        return cls(
            train_features=data.train_features[:size].to(device),
            train_labels=data.train_labels[:size].to(device),
            test_features=data.test_features[:tests].to(device),
            test_labels=data.test_labels[:tests].to(device),
            classes=data.classes,
            batch_size=request.batch_size,
            seed=request.seed,
            repeated=request.augmented,
            fingerprint=data.fingerprint,
            evaluation_size=request.evaluation_size or EVALUATION_SIZE,
        )

    @property
    def steps_per_epoch(self) -> int:
        """As many steps as batches of different images fit, with repeated views too."""
        return len(self.train_features) // self.batch_size

    def epoch(self, index: int) -> Iterator[Batch]:
        """Yield the batches of an epoch in a fresh random order."""
        views = self.train_features.shape[1] if self.repeated else 1
        images = self.batch_size // views
        order = torch.randperm(len(self.train_features), generator=epoch_generator(self.seed, index))
        for chosen in order.to(self.train_features.device).split(images)[: self.steps_per_epoch]:
            vectors = self.train_features[chosen, :views].flatten(0, 1)
            yield Batch(vectors, self.train_labels[chosen].repeat_interleave(views))

    def evaluation(self, split: Split, epoch: int = 0) -> Iterator[Batch]:
        """Yield the first views in their stored order, at most ``evaluation_size``."""
        vectors = self.train_features[:, 0] if split == "train" else self.test_features
        labels = self.train_labels if split == "train" else self.test_labels
        size = min(len(vectors), self.evaluation_size)
        for start in range(0, size, _EVALUATION_BATCH):
            part = slice(start, min(start + _EVALUATION_BATCH, size))
            yield Batch(vectors[part], labels[part])
