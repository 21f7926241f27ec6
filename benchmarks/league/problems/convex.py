"""Convex problems."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import Images, cifar_images, mnist_images
from benchmarks.league.problems.feed import cross_entropy, generator, held_out, shuffled, squared_error


def _linear(images: Images, seed: int) -> Instance:
    """Return the problem of ten classes from a linear layer of the pixels that starts at zero, batch 64."""
    first, labels, test, truth = (part.flatten(1) if part.dim() > 1 else part for part in images)
    model = nn.Linear(first.shape[1], 10)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    evaluate = held_out(cross_entropy, (test, truth))
    return Instance(model, shuffled((first, labels), 64, seed), cross_entropy, evaluate)


def logistic_regression(seed: int) -> Instance:
    """Ten classes of MNIST at 14×14 from a linear layer that starts at zero, batch 64."""
    return _linear(mnist_images(20_000, 2_000, 2), seed)


def cifar_softmax(seed: int) -> Instance:
    """Ten classes of CIFAR-10 at 16×16 from a linear layer that starts at zero, 40,000 images; batch 64."""
    return _linear(cifar_images(40_000, 2_000), seed)


def least_squares(seed: int) -> Instance:
    """100 coefficients, a rotated covariance with a condition of 10⁴, noise 0.1, batch 32; held out with noise."""
    draw = generator(seed, "data")
    rotation = torch.linalg.qr(torch.randn(100, 100, generator=draw)).Q
    spread = torch.logspace(0.0, -2.0, 100)
    x = torch.randn(12_000, 100, generator=draw) * spread @ rotation.T
    truth = rotation @ (torch.randn(100, 1, generator=draw) / spread.sqrt()[:, None]) * 0.05
    y = x @ truth + 0.1 * torch.randn(12_000, 1, generator=draw)
    model = nn.Linear(100, 1)
    nn.init.zeros_(model.weight)
    evaluate = held_out(squared_error, (x[:2_000], y[:2_000]))
    return Instance(model, shuffled((x[2_000:], y[2_000:]), 32, seed), squared_error, evaluate)


def _deviance(model: nn.Module, batch: Batch) -> Tensor:
    """Return half the mean Poisson deviance, eˢ − y s + (y log y − y), which is at least 0."""
    inputs, counts = batch
    scores = model(inputs)
    return (scores.exp() - counts * scores + (torch.xlogy(counts, counts) - counts)).mean()


def poisson_regression(seed: int) -> Instance:
    """Counts with a log-linear mean, 30 features whose scales spread from 3 to 0.03, batch 32; held out with noise."""
    draw = generator(seed, "data")
    spread = torch.logspace(0.5, -1.5, 30)[torch.randperm(30, generator=draw)]
    x = torch.randn(12_000, 30, generator=draw)
    x = (x + 0.5 * torch.randn(12_000, 1, generator=draw)) * spread
    truth = 0.15 * torch.randn(30, 1, generator=draw) / spread[:, None]
    y = torch.poisson(torch.exp((x @ truth + 0.5).clamp(max=5.0)), generator=draw)
    model = nn.Linear(30, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    evaluate = held_out(_deviance, (x[:2_000], y[:2_000]))
    return Instance(model, shuffled((x[2_000:], y[2_000:]), 32, seed), _deviance, evaluate)


def _hinge(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean over samples and classes of [1 + s_j − s_y]₊, without the class itself."""
    inputs, labels = batch
    scores = model(inputs)
    own = scores.gather(1, labels[:, None])
    return (nn.functional.relu(1.0 + scores - own).sum(-1) - 1.0).mean() / (scores.shape[1] - 1)


def hinge(seed: int) -> Instance:
    """A support vector machine for ten classes on the pixels of CIFAR-10 at 16×16, from zero, batch 64."""
    images, labels, test, truth = cifar_images(20_000, 2_000)
    model = nn.Linear(768, 10)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    evaluate = held_out(_hinge, (test.flatten(1), truth))
    return Instance(model, shuffled((images.flatten(1), labels), 64, seed), _hinge, evaluate)
