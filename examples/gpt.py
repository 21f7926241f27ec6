"""A small GPT on characters with `curvestep.Auto`: no warm-up, no schedule, no rate.

    python examples/gpt.py
    python examples/gpt.py --data-dir DATA --steps 1000     # DATA/tinyshakespeare/input.txt

By default it learns a text that it makes itself, sums like `27+46=73;`; about ten seconds on one core.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep

CONTEXT, WIDTH, HEADS, BLOCKS = 32, 64, 4, 2


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a normalisation and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape."""
        batch, length, _ = hidden.shape
        parts = self.mix(self.first(hidden)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # torch's fused attention: curvestep has a rule for it, where double backward has none.
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.project(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        return hidden + self.feed(self.second(hidden))


class GPT(nn.Module):
    """Token and position embeddings, blocks, logits of the next character."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm, self.logits = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, length) to (batch, length, characters)."""
        hidden = self.token(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        return self.logits(self.norm(self.blocks(hidden)))


def text_of(folder: Path | None) -> str:
    """Return Tiny Shakespeare, or sums of two numbers below 50."""
    if folder is not None:
        return (folder / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    draw = random.Random(0)
    pairs = [(draw.randrange(50), draw.randrange(50)) for _ in range(20_000)]
    return "".join(f"{first}+{second}={first + second};" for first, second in pairs)


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the loss on the last tenth of the text, in nats a character."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=250)
    options.add_argument("--data-dir", type=Path)
    chosen = options.parse_args(arguments)
    torch.manual_seed(0)

    text = text_of(chosen.data_dir)
    alphabet = sorted(set(text))
    numbers = torch.tensor([alphabet.index(character) for character in text])
    cut = len(numbers) * 9 // 10

    def windows(part: Tensor) -> tuple[Tensor, Tensor]:
        """Return 32 random windows and their next characters."""
        starts = torch.randint(len(part) - CONTEXT, (32, 1)) + torch.arange(CONTEXT)
        return part[starts], part[starts + 1]

    def loss_of(part: Tensor) -> Tensor:
        """Return the mean loss over windows."""
        inputs, targets = windows(part)
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    model = GPT(len(alphabet))
    optimizer = curvestep.Auto(model.parameters())
    curvestep.attach(model, optimizer)

    for step in range(chosen.steps):
        optimizer.zero_grad()
        loss = loss_of(numbers[:cut])
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            size = optimizer.param_groups[0]["effective_lr"]
            print(f"step {step + 1}: loss {loss.item():.3f}, step size {size:.2g}")

    with optimizer.averaged(), torch.no_grad():
        model.eval()
        held_out = sum(loss_of(numbers[cut:]).item() for _ in range(10)) / 10
    print(f"held-out loss {held_out:.3f}")
    return held_out


if __name__ == "__main__":
    main()
