"""Batches of independent examples: shuffled each epoch, the last part of an epoch that fills no batch dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from curvestep.bench.data.images import ImageSet
from curvestep.bench.errors import SettingError
from curvestep.bench.feeds.augment import crop_and_flip, rotated, rotated_at_random
from curvestep.bench.feeds.order import epoch_generator
from curvestep.bench.task import Batch, LoadRequest, Split

# Losses are measured on at most this many examples after each epoch, the same ones every time.
EVALUATION_SIZE = 10_000
_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Scaling:
    """pixel ↦ (pixel - mean) / deviation, with one number a channel."""

    mean: Tensor  # (C, 1, 1)
    deviation: Tensor  # (C, 1, 1), positive

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 to float32."""
        return (images.to(torch.float32) - self.mean) / self.deviation


def standardised(train_images: Tensor) -> Scaling:
    """Return the scaling that gives each channel of the training images mean 0 and deviation 1."""
    levels = torch.arange(256, dtype=torch.float64)
    means: list[float] = []
    deviations: list[float] = []
    for channel in train_images.unbind(1):
        # How often each of the 256 levels occurs: exact, and no float copy of the images.
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = float(share @ levels)
        variance = float(share @ (levels - mean).square())
        means.append(mean)
        # A channel of one level has nothing to scale.
        deviations.append(math.sqrt(variance) if variance > 0.0 else 1.0)
    shape = (-1, 1, 1)
    return Scaling(torch.tensor(means).reshape(shape), torch.tensor(deviations).reshape(shape))


def unit_range(train_images: Tensor) -> Scaling:
    """Return the scaling from 0 … 255 to 0 … 1."""
    shape = (train_images.shape[1], 1, 1)
    return Scaling(torch.zeros(shape), torch.full(shape, 255.0))


@final
@dataclass(frozen=True)
class ExampleFeed:
    """Images on the device with what their outputs are compared with."""

    train_images: Tensor  # (N, C, H, W) uint8 on the device
    train_labels: Tensor | None  # (N,) int64 on the device, None when the images are their own targets
    test_images: Tensor  # (M, C, H, W) uint8 on the device
    test_labels: Tensor | None  # (M,) int64 on the device, None when the images are their own targets
    scaling: Scaling  # from pixels to inputs
    batch_size: int  # examples in a training batch
    seed: int  # decides the order
    augmented: bool  # whether training images are cropped and flipped at random
    fingerprint: str  # which data this is
    evaluation_size: int = EVALUATION_SIZE  # at most this many examples of a split are measured
    rotation: float = 0.0  # augmented images are turned at random by at most so many degrees to either side
    turn: float = 0.0  # degrees by which all images are turned further at the start of each epoch but the first

    @classmethod
    def classes(cls, images: ImageSet, scaling: Callable[[Tensor], Scaling], request: LoadRequest) -> ExampleFeed:
        """Return a feed whose targets are class numbers."""
        return _feed(images, scaling, request, labelled=True)

    @classmethod
    def reconstruction(
        cls, images: ImageSet, scaling: Callable[[Tensor], Scaling], request: LoadRequest
    ) -> ExampleFeed:
        """Return a feed whose targets are the inputs, flattened."""
        return _feed(images, scaling, request, labelled=False)

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches."""
        return len(self.train_images) // self.batch_size

    def epoch(self, index: int) -> Iterator[Batch]:
        """Yield the full batches of an epoch in a fresh random order."""
        generator = epoch_generator(self.seed, index)
        order = torch.randperm(len(self.train_images), generator=generator).to(self.train_images.device)
        for start in range(0, self.steps_per_epoch * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = self.train_images[chosen]
            if self.augmented:
                images = crop_and_flip(images, generator)
                if self.rotation:
                    images = rotated_at_random(images, self.rotation, generator)
            yield self._batch(images, None if self.train_labels is None else self.train_labels[chosen], index)

    def evaluation(self, split: Split, epoch: int = 0) -> Iterator[Batch]:
        """Yield images without augmentation in their stored order, at most ``evaluation_size``."""
        images = self.train_images if split == "train" else self.test_images
        labels = self.train_labels if split == "train" else self.test_labels
        size = min(len(images), self.evaluation_size)
        for start in range(0, size, _EVALUATION_BATCH):
            part = slice(start, min(start + _EVALUATION_BATCH, size))
            yield self._batch(images[part], None if labels is None else labels[part], epoch)

    def _batch(self, images: Tensor, labels: Tensor | None, epoch: int) -> Batch:
        """Inputs and targets of some images."""
        if self.turn:
            images = rotated(images, self.turn * epoch)
        inputs = self.scaling(images)
        return Batch(inputs, inputs.flatten(1) if labels is None else labels)


def _feed(
    images: ImageSet, scaling: Callable[[Tensor], Scaling], request: LoadRequest, *, labelled: bool
) -> ExampleFeed:
    """The feed on the device; a smaller training set also shortens the test set to at most its size."""
    size = len(images.train_images) if request.train_size is None else request.train_size
    if size > len(images.train_images):
        raise SettingError(f"--subset {size} asks for more than the {len(images.train_images)} training examples.")
    if request.batch_size > size:
        raise SettingError(
            f"A batch of {request.batch_size} does not fit into {size} training examples; "
            "give a smaller --batch-size or a larger --subset."
        )
    test_size = min(size, len(images.test_images))
    device = request.device
    fitted = scaling(images.train_images)
    return ExampleFeed(
        train_images=images.train_images[:size].to(device),
        train_labels=images.train_labels[:size].to(device) if labelled else None,
        test_images=images.test_images[:test_size].to(device),
        test_labels=images.test_labels[:test_size].to(device) if labelled else None,
        scaling=Scaling(fitted.mean.to(device), fitted.deviation.to(device)),
        batch_size=request.batch_size,
        seed=request.seed,
        augmented=request.augmented,
        fingerprint=images.fingerprint,
        evaluation_size=request.evaluation_size or EVALUATION_SIZE,
    )
