"""Long short-term memory over characters."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class CharacterLSTM(nn.Module):
    """Embedding, layers of LSTM that start each window from zero, a linear layer of logits; torch's initial weights.

    Args:
        vocabulary: number of tokens.
        width: size of a token's vector and of each layer's state.
        layers: number of layers.

    Source: Hochreiter, Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, with the forget gate that
    torch's ``nn.LSTM`` has.
    """

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.layers = nn.LSTM(width, width, layers, batch_first=True)
        self.logits = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at each position."""
        hidden, _ = self.layers(self.token(tokens))
        return self.logits(hidden)
