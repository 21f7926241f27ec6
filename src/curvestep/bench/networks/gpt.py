"""A small decoder-only transformer over characters."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from curvestep.bench.networks.transformer import Block, start_alike


@final
class GPT(nn.Module):
    """Pre-norm transformer: token and position embeddings, attention and GELU blocks, a linear layer of logits.

    Args:
        vocabulary: number of tokens.
        context: longest sequence.
        blocks: number of blocks.
        width: size of a token's vector.
        heads: number of attention heads; divides ``width``.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2), section 2.3.

    Deviations: no dropout; the layer of logits has its own weights; projections into the residual stream start like the
        others, not smaller by √(2·blocks).
    """

    def __init__(self, vocabulary: int, context: int, blocks: int, width: int, heads: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, vocabulary, bias=False)
        start_alike(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at each position."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.token(tokens) + self.position(positions)
        return self.logits(self.norm(self.blocks(hidden)))
