"""Images in patches: depthwise convolutions behind layer norm, and a masked autoencoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import cifar_images, mnist_images
from benchmarks.league.problems.feed import cross_entropy, generator, held_out, mirrored, shuffled


class _Depthwise(nn.Module):
    """A 5×5 convolution of each channel, layer norm, and two dense layers with a small scale, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.each, self.norm = nn.Conv2d(width, width, 5, padding=2, groups=width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.feed(self.norm(self.each(x).permute(0, 2, 3, 1)))
        return x + (self.scale * inner).permute(0, 3, 1, 2)


class _Convnext(nn.Module):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, stride=2)
        self.blocks = nn.Sequential(*(_Depthwise(width) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))


def cifar_convnext(seed: int) -> Instance:
    """Three depthwise blocks of width 24 on 20,000 images at 16×16 in patches of 2×2, mirrored; batch 32."""
    images, labels, test, truth = cifar_images(20_000, 1_000)
    batches = mirrored((images, labels), 32, seed, generator(seed, "noise"))
    return Instance(_Convnext(24, 3), batches, cross_entropy, held_out(cross_entropy, (test, truth)))


_SIDE, _PATCH = 14, 2
_PATCHES = (_SIDE // _PATCH) ** 2
_SHOWN = 16


def _cut(images: Tensor) -> Tensor:
    """Return patches of 2×2 pixels, one row each."""
    parts = images[:, 0].unfold(1, _PATCH, _PATCH).unfold(2, _PATCH, _PATCH)
    return parts.reshape(len(images), _PATCHES, _PATCH**2)


def _encoder(width: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)


class _Masked(nn.Module):
    """Attention over the patches that are shown; a token stands for each of the others, and a block fills them in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(_PATCH**2, width), nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.randn(_PATCHES, width) * 0.02)
        self.seen, self.whole = _encoder(width), _encoder(width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, _PATCH**2)

    def forward(self, patches: Tensor, order: Tensor) -> Tensor:
        rows = torch.arange(len(patches))[:, None]
        shown, hidden = order[:, :_SHOWN], order[:, _SHOWN:]
        seen = self.seen(self.embed(patches[rows, shown]) + self.place[shown])
        tokens = self.token + self.place[hidden]
        return self.head(self.norm(self.whole(torch.cat([seen, tokens], 1))[:, _SHOWN:]))


def _hidden_error(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of the patches that were not shown."""
    patches, order = batch
    truth = patches[torch.arange(len(patches))[:, None], order[:, _SHOWN:]]
    return nn.functional.mse_loss(model(patches, order), truth)


def _orders(count: int, draw: torch.Generator) -> Tensor:
    return torch.rand(count, _PATCHES, generator=draw).argsort(-1)


def masked_images(seed: int) -> Instance:
    """MNIST at 14×14, 20,000 images, a third of the patches shown, two blocks of width 32 guess the rest; batch 32."""
    images, _, test, _ = mnist_images(20_000, 1_000, 2)
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for (patches,) in shuffled((_cut(images),), 32, seed):
            yield patches, _orders(len(patches), draw)

    known = _cut(test), _orders(len(test), torch.Generator().manual_seed(7))
    return Instance(_Masked(32), batches(), _hidden_error, held_out(_hidden_error, known))
