"""A small vision transformer."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from curvestep.bench.networks.transformer import Block, start_alike


@final
class ViT(nn.Module):
    """Patches of an image as tokens: a linear map with a position each, pre-norm blocks, the mean, a linear layer.

    Args:
        size: side of the square images.
        channels: colours of an image.
        patch: side of the square patches; divides ``size``.
        blocks: number of blocks.
        width: size of a patch's vector.
        heads: number of attention heads; divides ``width``.
        classes: number of classes.

    Source: Dosovitskiy et al., An Image is Worth 16×16 Words, arXiv 2010.11929, section 3.1.

    Deviations: the mean over the patches instead of a class token; no dropout; weights start as in GPT-2.
    """

    def __init__(self, size: int, channels: int, patch: int, blocks: int, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.position = nn.Parameter(torch.empty((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, classes)
        start_alike(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes."""
        # (B, width, rows, columns) -> (B, T, width)
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.logits(self.norm(self.blocks(tokens + self.position)).mean(1))
