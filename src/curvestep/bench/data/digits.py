"""The digits that ship with scikit-learn: 1,797 grey images of 8×8 with 17 levels."""

from __future__ import annotations

import torch

from curvestep.bench.data.images import ImageSet
from curvestep.bench.errors import DataError

_TRAIN_SIZE = 1437  # four fifths; scikit-learn has no split of its own
_SPLIT_SEED = 0  # fixed: the split is part of the task, not of a run


def digits() -> ImageSet:
    """Return the digits, (N, 1, 8, 8) with values 0 … 16, split at random once for all runs into 1,437 + 360.

    Raises:
        DataError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            'The task digits-mlp needs scikit-learn; install it with: pip install "curvestep[bench]".'
        ) from error
    pixels, classes = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).to(torch.uint8).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(classes).to(torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    train, test = order[:_TRAIN_SIZE], order[_TRAIN_SIZE:]
    return ImageSet("scikit-learn-digits", images[train], labels[train], images[test], labels[test])
