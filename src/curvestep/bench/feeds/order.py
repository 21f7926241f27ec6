"""Random orders that depend on the seed and the epoch alone, on any device."""

from __future__ import annotations

import torch

# Seeds of neighbouring runs stay apart for a million epochs.
_EPOCHS_PER_SEED = 1_000_003


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Return a generator on the CPU, so that the order of the batches is the same on every device."""
    return torch.Generator().manual_seed(seed * _EPOCHS_PER_SEED + epoch)
