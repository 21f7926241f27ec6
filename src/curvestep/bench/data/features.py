"""Features of a frozen network with their classes: a folder of arrays, or what an extractor trained here gives."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from curvestep.bench.data.cache import cached
from curvestep.bench.errors import DataError

FEATURES_VARIABLE = "CURVESTEP_FEATURES"
_NAMES = ("train_features", "train_labels", "test_features", "test_labels")


@dataclass(frozen=True)
class FeatureSet:
    """Feature vectors with class numbers."""

    fingerprint: str  # which data this is
    train_features: Tensor  # (N, V, D) float32: V views of each image, the first one without augmentation
    train_labels: Tensor  # (N,) int64
    test_features: Tensor  # (M, D) float32
    test_labels: Tensor  # (M,) int64

    @property
    def width(self) -> int:
        """D."""
        return self.train_features.shape[2]

    @property
    def classes(self) -> int:
        """One more than the largest class number."""
        return 1 + int(max(self.train_labels.max(), self.test_labels.max()))


def features(data_dir: Path | None) -> FeatureSet:
    """Return the features in the folder that ``CURVESTEP_FEATURES`` names, else those of our own extractor.

    Raises:
        DataError: if the folder lacks an array or one has a wrong shape, or CIFAR-100 is missing.
    """
    folder = os.environ.get(FEATURES_VARIABLE)
    return read_features(Path(folder)) if folder else _extracted(data_dir)


def read_features(folder: Path) -> FeatureSet:
    """Return the features of a folder with four arrays of numpy, ``train_features.npy`` and so on.

    Raises:
        DataError: if one is missing, unreadable, or has a wrong shape.
    """
    arrays = {name: _array(folder, name) for name in _NAMES}
    train, test = arrays["train_features"], arrays["test_features"]
    if train.ndim == 2:
        train = train[:, None]
    if train.ndim != 3 or 0 in train.shape:
        raise DataError(_wrong(folder, "train_features", "(N, D), or (N, V, D) with V views of each image", arrays))
    if test.ndim != 2 or len(test) == 0 or test.shape[1] != train.shape[2]:
        raise DataError(_wrong(folder, "test_features", f"(M, {train.shape[2]}), as wide as those of training", arrays))
    tensors = [torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in (train, test)]
    for name, tensor in zip(("train_features", "test_features"), tensors, strict=True):
        if not bool(tensor.isfinite().all()):
            raise DataError(f"{folder / name}.npy has numbers that are not finite; extract the features again.")
    labels: list[Tensor] = []
    for name, count in (("train_labels", len(train)), ("test_labels", len(test))):
        array = arrays[name]
        if array.shape != (count,) or array.dtype.kind not in "iu" or (count and int(array.min()) < 0):
            raise DataError(_wrong(folder, name, f"({count},), a class number ≥ 0 for each row of features", arrays))
        labels.append(torch.from_numpy(array.astype(np.int64)))
    digest = hashlib.blake2b(digest_size=8)
    for name in _NAMES:
        digest.update((folder / f"{name}.npy").read_bytes())
    return FeatureSet(digest.hexdigest(), tensors[0], labels[0], tensors[1], labels[1])


def _extracted(data_dir: Path | None) -> FeatureSet:
    """The features of our own extractor, computed once."""
    from curvestep.bench.data.extractor import RECIPE, extract
    from curvestep.bench.data.images import cifar100

    images = cifar100(data_dir)
    fingerprint = hashlib.blake2b(f"{images.fingerprint} {RECIPE}".encode(), digest_size=8).hexdigest()
    return FeatureSet(fingerprint, **cached("features", fingerprint, _NAMES, lambda: extract(images)))


def _array(folder: Path, name: str) -> np.ndarray:
    """One array of the folder."""
    path = folder / f"{name}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(
            f"The folder of features {folder} has no {name}.npy; put {', '.join(f'{each}.npy' for each in _NAMES)} "
            "there, or leave out --features."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not an array of numpy ({error}); write it with numpy.save.") from error


def _wrong(folder: Path, name: str, wanted: str, arrays: dict[str, np.ndarray]) -> str:
    """The refusal of a shape."""
    given = arrays[name]
    return f"{folder / name}.npy was expected to have the shape {wanted}; it has {given.shape} of {given.dtype}."
