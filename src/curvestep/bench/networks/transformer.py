"""What the transformers share: pre-norm blocks, and their initial weights."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

# Standard deviation of the initial weights in GPT-2.
_INIT_STD = 0.02


def start_alike(network: nn.Module) -> None:
    """Draw every weight of two or more axes from N(0, 0.02²) and set the biases of linear layers to zero."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=_INIT_STD)
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@final
class Block(nn.Module):
    """x + attention(norm(x)), then x + feed(norm(x)) with a hidden layer four times as wide and GELU.

    Args:
        width: size of a token's vector.
        heads: number of attention heads; divides ``width``.
        causal: whether a token sees only those up to itself.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, width) to (B, T, width)."""
        hidden = hidden + self.attention(self.attention_norm(hidden))
        return hidden + self.feed(self.feed_norm(hidden))


@final
class Attention(nn.Module):
    """Multi-head attention through torch's fused kernel; arguments as in ``Block``."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, width) to (B, T, width)."""
        batch, length, width = hidden.shape
        # (B, T, 3·width) -> three of (B, heads, T, width / heads)
        split = self.queries_keys_values(hidden).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.project(mixed.transpose(1, 2).reshape(batch, length, width))
