"""MNIST, CIFAR-10 and CIFAR-100 as uint8 tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from curvestep.bench.data.cache import Tensors, cached
from curvestep.bench.data.sources import Opened, Source, open_source
from curvestep.bench.errors import DataError

_PARQUET = {"train": "train-*.parquet", "test": "test-*.parquet"}
_SPLITS = {"train": ("train",), "test": ("test",)}
_MNIST = Source("mnist", "parquet", _PARQUET, "ylecun/mnist", None, _SPLITS, image="image")
_CIFAR10 = Source("cifar10", "parquet", _PARQUET, "uoft-cs/cifar10", None, _SPLITS, image="img")
_CIFAR100 = Source("cifar100", "parquet", _PARQUET, "uoft-cs/cifar100", None, _SPLITS, image="img")
_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class ImageSet:
    """Images with class numbers."""

    fingerprint: str  # which data this is
    train_images: Tensor  # (N, C, H, W) uint8
    train_labels: Tensor  # (N,) int64
    test_images: Tensor  # (M, C, H, W) uint8
    test_labels: Tensor  # (M,) int64


def mnist(data_dir: Path | None) -> ImageSet:
    """Return MNIST, 60,000 + 10,000 grey images of 28×28, from a folder that holds ``mnist/`` or from the hub.

    Raises:
        DataError: if it is missing or broken.
    """
    return _image_set(open_source(_MNIST, data_dir), "image", mode="L", size=28)


def cifar10(data_dir: Path | None) -> ImageSet:
    """Return CIFAR-10, 50,000 + 10,000 colour images of 32×32, from a folder that holds ``cifar10/`` or from the hub.

    Raises:
        DataError: if it is missing or broken.
    """
    return _image_set(open_source(_CIFAR10, data_dir), "img", mode="RGB", size=32)


def cifar100(data_dir: Path | None) -> ImageSet:
    """Return CIFAR-100 with its hundred fine classes, from a folder that holds ``cifar100/`` or from the hub.

    Raises:
        DataError: if it is missing or broken.
    """
    return _image_set(open_source(_CIFAR100, data_dir), "img", mode="RGB", size=32, label="fine_label")


def _image_set(opened: Opened, column: str, mode: str, size: int, label: str = "label") -> ImageSet:
    """The images of a source, decoded once."""

    def build() -> Tensors:
        train_images, train_labels = _decode(opened, "train", column, mode, size, label)
        test_images, test_labels = _decode(opened, "test", column, mode, size, label)
        return dict(zip(_NAMES, (train_images, train_labels, test_images, test_labels), strict=True))

    return ImageSet(opened.fingerprint, **cached(opened.source.name, opened.fingerprint, _NAMES, build))


def _decode(opened: Opened, split: str, column: str, mode: str, size: int, label: str) -> tuple[Tensor, Tensor]:
    """All images of a split in the given colour mode, and their labels."""
    images: list[np.ndarray] = []
    labels: list[int] = []
    for row in opened.rows(split):
        if column not in row or label not in row:
            raise DataError(
                f"{opened.source.name} was expected to have the columns {column!r} and {label!r}, "
                f"its {split} part has {sorted(row)}; copy the hub's {opened.source.hub}."
            )
        image = np.asarray(row[column].convert(mode), dtype=np.uint8)
        if image.shape[:2] != (size, size):
            raise DataError(
                f"{opened.source.name} was expected to have images of {size}×{size}, "
                f"one has {image.shape[1]}×{image.shape[0]}; copy the hub's {opened.source.hub}."
            )
        images.append(image)
        labels.append(int(row[label]))
    if not images:
        raise DataError(f"The {split} part of {opened.source.name} is empty; copy the hub's {opened.source.hub}.")
    # (N, H, W[, C]) -> (N, C, H, W)
    pixels = torch.from_numpy(np.stack(images)).reshape(len(images), size, size, -1).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor(labels)
