"""Generative models: variational, adversarial, flows, diffusion, mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.row import Case, Model, trained

FAMILY = "generative models"
BATCH = 4


def mean_of(each: Callable[[], Tensor], *modules: nn.Module) -> Case:
    """A case whose recorded loss is the plain mean of the terms."""
    return Case(trained(*modules), lambda: each().mean(), each)


def variational() -> Case:
    """Convolutions down, reparameterised noise, transposed convolutions up; the evidence bound."""
    down = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(27, 6))
    up = nn.Sequential(nn.Linear(3, 12), nn.Unflatten(1, (3, 2, 2)), nn.SiLU(), nn.ConvTranspose2d(3, 1, 3, stride=2))
    x = torch.rand(BATCH, 1, 5, 5)

    def each() -> Tensor:
        mean, spread = down(x).chunk(2, 1)
        latent = mean + torch.exp(0.5 * spread) * torch.randn_like(mean)
        fit = F.binary_cross_entropy_with_logits(up(latent), x, reduction="none").sum((1, 2, 3))
        return fit - 0.5 * (1 + spread - mean.square() - spread.exp()).sum(1)

    return mean_of(each, down, up)


def relaxed() -> Case:
    """Discrete latents relaxed by Gumbel noise."""
    code, decode = nn.Linear(5, 8), nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    x = torch.randn(BATCH, 5)

    def each() -> Tensor:
        logits = code(x).view(BATCH, 2, 4)
        hard = F.gumbel_softmax(logits, tau=0.7, dim=-1)
        share = logits.softmax(-1)
        penalty = (share * (share.log() + math.log(4))).sum((1, 2))
        return (decode(hard.flatten(1)) - x).square().sum(1) + penalty

    return mean_of(each, code, decode)


def quantised() -> Case:
    """Latents replaced by their nearest code, gradients copied straight through."""
    enter, leave, codes = nn.Linear(5, 3), nn.Linear(3, 5), nn.Embedding(4, 3)
    x = torch.randn(BATCH, 5)

    def each() -> Tensor:
        z = enter(x)
        q = codes(torch.cdist(z, codes.weight).argmin(1))
        fit = (leave(z + (q - z).detach()) - x).square().sum(1)
        return fit + (q - z.detach()).square().sum(1) + 0.25 * (q.detach() - z).square().sum(1)

    return mean_of(each, enter, leave, codes)


def _players() -> tuple[nn.Module, nn.Module]:
    generator = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5))
    judge = nn.Sequential(nn.Linear(5, 6), nn.Softplus(), nn.Linear(6, 1))
    return generator, judge


def generator_step() -> Case:
    generator, judge = _players()
    judge.requires_grad_(False)
    noise = torch.randn(BATCH, 3)
    return mean_of(lambda: F.softplus(-judge(generator(noise))).squeeze(1), generator)


def judge_step() -> Case:
    generator, judge = _players()
    real, noise = torch.randn(BATCH, 5), torch.randn(BATCH, 3)

    def each() -> Tensor:
        with torch.no_grad():
            fake = generator(noise)
        return (F.softplus(-judge(real)) + F.softplus(judge(fake))).squeeze(1)

    return mean_of(each, judge)


def critic_step() -> Case:
    """A critic whose gradient in its input is held near length one: a gradient inside the forward."""
    generator, critic = _players()
    real, noise, blend = torch.randn(BATCH, 5), torch.randn(BATCH, 3), torch.rand(BATCH, 1)

    def each() -> Tensor:
        with torch.no_grad():
            fake = generator(noise)
        between = (blend * real + (1 - blend) * fake).requires_grad_()
        (steep,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return (critic(fake) - critic(real)).squeeze(1) + 10 * (steep.norm(dim=1) - 1).square()

    return mean_of(each, critic)


class Coupling(nn.Module):
    """An affine coupling layer behind a full linear map: log-determinants of both."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(4, 4))[0] + 0.1 * torch.randn(4, 4))
        self.net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x @ self.mix
        held, moved = x.chunk(2, 1)
        scale, shift = self.net(held).chunk(2, 1)
        return torch.cat([moved * scale.tanh().exp() + shift, held], 1), scale.tanh().sum(1) + self.mix.slogdet()[1]


def flow() -> Case:
    layers = nn.ModuleList(Coupling() for _ in range(2))
    x = torch.randn(BATCH + 1, 4)

    def each() -> Tensor:
        z, volume = x, torch.zeros(len(x))
        for layer in layers:
            z, grown = layer(z)
            volume = volume + grown
        return 0.5 * z.square().sum(1) - volume

    return mean_of(each, layers)


def mixture() -> Case:
    """A density of Gaussians whose weights, means and widths depend on the input."""
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 9))
    x, y = torch.randn(BATCH + 1, 2), torch.randn(BATCH + 1, 1)

    def each() -> Tensor:
        weight, mean, width = net(x).chunk(3, 1)
        spread = F.softplus(width) + 0.1
        logs = weight.log_softmax(1) - 0.5 * ((y - mean) / spread).square() - spread.log()
        return -torch.logsumexp(logs, 1)

    return mean_of(each, net)


class Denoiser(nn.Module):
    """Convolutions whose features are scaled and shifted by the time, with attention over the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 8))
        self.enter, self.leave = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
        self.norm, self.attend = nn.GroupNorm(2, 4), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * torch.tensor([1.0, 0.1])
        scale, shift = self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None].chunk(2, 1)
        held = F.silu(self.norm(self.enter(x)) * (1 + scale) + shift)
        flat = held.flatten(2).transpose(1, 2)
        held = held + self.attend(flat, flat, flat, need_weights=False)[0].transpose(1, 2).view_as(held)
        return self.leave(held)


def diffusion() -> Case:
    net, x = Denoiser(), torch.randn(3, 1, 4, 4)

    def each() -> Tensor:
        t = torch.rand(len(x))
        noise = torch.randn_like(x)
        share = torch.cos(0.5 * math.pi * t)[:, None, None, None]
        return (net(share * x + (1 - share.square()).sqrt() * noise, 10 * t) - noise).square().mean((1, 2, 3))

    return mean_of(each, net)


class Masked(nn.Conv2d):
    """A convolution that sees only pixels before its own."""

    def forward(self, input: Tensor) -> Tensor:
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 1:] = 0
        mask[:, :, 2] = 0
        return F.conv2d(input, self.weight * mask, self.bias, padding=1)


def autoregressive() -> Case:
    net = nn.Sequential(Masked(1, 4, 3), nn.ELU(), Masked(4, 3, 3))
    x = torch.randint(3, (BATCH, 4, 4))

    def each() -> Tensor:
        return F.cross_entropy(net(x[:, None] / 2.0), x, reduction="none").sum((1, 2))

    return mean_of(each, net)


ROWS: list[Model] = [
    Model("convolutional VAE", FAMILY, variational, note="reparameterised noise"),
    Model("VAE with relaxed categories", FAMILY, relaxed, note="Gumbel softmax"),
    Model("VQ-VAE", FAMILY, quantised, smooth=False, note="straight-through gradient by detach"),
    Model("GAN, generator step", FAMILY, generator_step, note="through a frozen discriminator"),
    Model("GAN, discriminator step", FAMILY, judge_step, note="against a frozen generator"),
    Model("WGAN with gradient penalty", FAMILY, critic_step, note="a gradient inside the forward"),
    Model("normalising flow", FAMILY, flow, note="coupling layers, log-determinants"),
    Model("mixture density network", FAMILY, mixture),
    Model("diffusion", FAMILY, diffusion, note="noise prediction with attention"),
    Model("PixelCNN", FAMILY, autoregressive, smooth=False, note="masked convolutions"),
]  # fmt: skip
