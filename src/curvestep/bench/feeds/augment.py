"""Random crop, flip and rotation of a batch of images, and one rotation of all, in tensor lines."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_PADDING = 4


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad images by four zeros, cut them back to their size at a random place, and mirror each with probability ½."""
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * _PADDING + 1, (2, batch), generator=generator)
    flipped = torch.randint(0, 2, (batch, 1), generator=generator).bool()
    rows = offsets[0, :, None] + torch.arange(height)  # (B, H)
    columns = offsets[1, :, None] + torch.arange(width)  # (B, W)
    columns = torch.where(flipped, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    padded = F.pad(images, (_PADDING, _PADDING, _PADDING, _PADDING))
    # Indices of shape (B, 1, 1), (B, H, 1), (B, 1, W) around the sliced channels give (B, H, W, C).
    index = torch.arange(batch, device=images.device)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def rotated(images: Tensor, degrees: float) -> Tensor:
    """Return square images (B, C, H, H) turned counter-clockwise, reading between pixels; zero comes in at the corners.

    Example:
        >>> rotated(torch.tensor([[[[1, 2], [3, 4]]]]), 90.0).round().tolist()
        [[[[2.0, 4.0], [1.0, 3.0]]]]
    """
    images = images.to(torch.float32)
    if degrees % 360.0 == 0.0:
        return images
    return _turned(images, torch.full((len(images),), math.radians(degrees)))


def rotated_at_random(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Return square images turned by an angle of its own each, uniform in [-degrees, degrees].

    Example:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> rotated_at_random(image, 0.0, torch.Generator()).tolist()
        [[[[1.0, 2.0], [3.0, 4.0]]]]
    """
    angles = (2.0 * torch.rand(len(images), generator=generator) - 1.0) * math.radians(degrees)
    return _turned(images.to(torch.float32), angles)


def _turned(images: Tensor, angles: Tensor) -> Tensor:
    """Images turned counter-clockwise by these angles in radians, (B,) on the CPU."""
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # Where each pixel of the result is read: with rows counted downwards this turns the picture counter-clockwise.
    theta = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    theta = theta.to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
