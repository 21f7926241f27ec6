"""A variational autoencoder and a diffusion model; the noise is a part of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import digits, mnist_pixels
from benchmarks.league.problems.feed import dense, generator, held_out, shuffled

_CODE = 12


class _Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = dense(784, 200, 2 * _CODE), dense(_CODE, 200, 784)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return self.decoder(mean + torch.exp(0.5 * log_variance) * noise), mean, log_variance


def _bound(model: nn.Module, batch: Batch) -> Tensor:
    """Return the negative evidence lower bound a sample, in nats."""
    x, noise = batch
    scores, mean, log_variance = model(x, noise)
    misfit = nn.functional.binary_cross_entropy_with_logits(scores, x, reduction="none").sum(-1)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(-1)
    return (misfit + divergence).mean()


def mnist_vae(seed: int) -> Instance:
    """A variational autoencoder 784-200-12-200-784 on MNIST, batch 64; the loss is in nats, about 100."""
    train, test = mnist_pixels(20_000, 1_000)
    noise = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for (x,) in shuffled((train,), 64, seed):
            yield x, torch.randn(len(x), _CODE, generator=noise)

    fixed = torch.randn(len(test), _CODE, generator=torch.Generator().manual_seed(7))
    return Instance(_Variational(), batches(), _bound, held_out(_bound, (test, fixed)))


class _Denoiser(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.time = nn.Linear(64, width), nn.Linear(16, width)
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = nn.Linear(width, 64)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * (2.0 ** torch.arange(8))
        mark = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        hidden = self.into(x) + mark
        for layer in self.middle:
            hidden = hidden + layer(nn.functional.silu(hidden + mark))
        return self.out(nn.functional.silu(hidden))


def _denoising(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of the predicted noise, with a cosine schedule of its level."""
    x, noise, time = batch
    keep, add = torch.cos(time * math.pi / 2)[:, None], torch.sin(time * math.pi / 2)[:, None]
    return nn.functional.mse_loss(model(keep * x + add * noise, time), noise)


def digits_diffusion(seed: int) -> Instance:
    """A diffusion model of scikit-learn's digits, 1,500 images of 64 pixels, batch 96."""
    pixels, _ = digits()
    train, test = pixels[:1_500], pixels[1_500:]
    draw = generator(seed, "noise")

    def batches() -> Iterator[Batch]:
        for (x,) in shuffled((train,), 96, seed):
            yield x, torch.randn(x.shape, generator=draw), 0.02 + 0.96 * torch.rand(len(x), generator=draw)

    fixed, test = torch.Generator().manual_seed(7), test.repeat(8, 1)
    noise, times = torch.randn(test.shape, generator=fixed), 0.02 + 0.96 * torch.rand(len(test), generator=fixed)
    return Instance(_Denoiser(128), batches(), _denoising, held_out(_denoising, (test, noise, times)))
