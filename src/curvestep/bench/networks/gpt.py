"""A small decoder-only transformer over characters."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Standard deviation of the initial weights in GPT-2.
_INIT_STD = 0.02


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
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=_INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at each position.

        Args:
            tokens: (B, T) integers below ``vocabulary``, T ≤ ``context``.

        Returns:
            (B, T, vocabulary).
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.token(tokens) + self.position(positions)
        return self.logits(self.norm(self.blocks(hidden)))


@final
class Block(nn.Module):
    """x + attention(norm(x)), then x + feed(norm(x)) with a hidden layer four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, width) to (B, T, width)."""
        hidden = hidden + self.attention(self.attention_norm(hidden))
        return hidden + self.feed(self.feed_norm(hidden))


@final
class Attention(nn.Module):
    """Causal multi-head attention through torch's fused kernel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, width) to (B, T, width); position t sees positions up to t."""
        batch, length, width = hidden.shape
        # (B, T, 3·width) -> three of (B, heads, T, width / heads)
        split = self.queries_keys_values(hidden).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.project(mixed.transpose(1, 2).reshape(batch, length, width))
