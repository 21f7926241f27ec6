"""Operators, complex numbers, Gaussian processes, and differential equations solved with steps of their own choice."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.row import Case, Model, supervised, trained

FAMILY = "operators, complex numbers, processes and equations"
BATCH, CLASSES = 4, 3


class Spectral(nn.Module):
    """A product with complex weights at the lowest frequencies of a grid."""

    def __init__(self, width: int, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.modes = modes
        weight = torch.randn(width, width, *modes, dtype=torch.complex128) / width
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(2, x.dim()))
        spectrum = torch.fft.rfftn(x, dim=axes)
        low = tuple(slice(None, m) for m in self.modes)
        kept = torch.einsum("bi...,io...->bo...", spectrum[(slice(None), slice(None), *low)], self.weight)
        out = torch.zeros(len(x), kept.shape[1], *spectrum.shape[2:], dtype=kept.dtype)
        out[(slice(None), slice(None), *low)] = kept
        return torch.fft.irfftn(out, s=x.shape[2:], dim=axes)


class FourierOperator(nn.Module):
    """A Fourier neural operator: two spectral layers, each beside a layer that acts point by point."""

    def __init__(self, axes: int, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.lift, self.last = nn.Linear(1 + axes, 4), nn.Linear(4, 1)
        self.spectral = nn.ModuleList(Spectral(4, modes) for _ in range(2))
        self.beside = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(2))

    def forward(self, field: Tensor) -> Tensor:
        sides = [torch.linspace(0, 1, n) for n in field.shape[1:]]
        grid = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).expand(len(field), *field.shape[1:], len(sides))
        x = self.lift(torch.cat([field.unsqueeze(-1), grid], -1)).movedim(-1, 1)
        for spectral, beside in zip(self.spectral, self.beside, strict=True):
            x = F.gelu(spectral(x) + beside(x.flatten(2)).view_as(x))
        return self.last(x.movedim(1, -1)).squeeze(-1)


def fourier(*size: int, modes: tuple[int, ...]) -> Case:
    field, target = torch.randn(BATCH, *size), torch.randn(BATCH, *size)
    loss = lambda out: (out - target).square().flatten(1).mean(1)  # noqa: E731
    return supervised(FourierOperator(len(size), modes), field, loss)


class ComplexNet(nn.Module):
    """Complex convolution and linear layers, with a gate by the modulus that leaves the phase."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(2, 3, 3, padding=1, dtype=torch.complex128)
        self.hidden = nn.Linear(15, 6, dtype=torch.complex128)
        self.threshold = nn.Parameter(torch.rand(6))
        self.head = nn.Linear(6, CLASSES, dtype=torch.complex128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x).flatten(1)
        x = x * (1 + x.abs().square()).rsqrt()
        z = self.hidden(x)
        z = torch.sigmoid(z.abs().square() / 4 - self.threshold) * z
        return torch.view_as_real(self.head(z * z.conj() / 4 + z)).sum(-1)


def complex_net() -> Case:
    x, y = torch.randn(BATCH, 2, 5, dtype=torch.complex128), torch.randint(CLASSES, (BATCH,))
    return supervised(ComplexNet(), x, lambda out: F.cross_entropy(out, y, reduction="none"))


def variational_process() -> Case:
    """A sparse variational Gaussian process; its loss is minus the evidence lower bound of the batch."""
    gpytorch: Any = import_module("gpytorch")

    class Process(gpytorch.models.ApproximateGP):
        def __init__(self, inducing: Tensor) -> None:
            own: Any = gpytorch.variational
            distribution = own.CholeskyVariationalDistribution(len(inducing))
            super().__init__(own.VariationalStrategy(self, inducing, distribution, learn_inducing_locations=True))
            self.mean = gpytorch.means.ConstantMean()
            self.kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=2))

        def forward(self, x: Tensor) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    model, likelihood = Process(torch.randn(3, 2)), gpytorch.likelihoods.GaussianLikelihood()
    x, y = torch.randn(BATCH + 2, 2), torch.randn(BATCH + 2)
    bound: Any = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=20)
    model.train()
    likelihood.train()
    model(x)  # the first call initialises the variational distribution

    def loss() -> Tensor:
        return -bound(model(x), y)

    def explicit() -> Tensor:
        """Without the two functions whose double backward is missing, or is wrong, which one of gpytorch's is."""
        strategy: Any = gpytorch.variational.variational_strategy
        with patch.object(torch, "cdist", distances), patch.object(strategy, "ComputePredictiveUpdates", Updates):
            return loss().expand(len(x))

    return Case(trained(model, likelihood), loss, explicit)


class Updates:
    """What gpytorch's `ComputePredictiveUpdates` computes, which saves a tensor of its own as if it were a constant."""

    @staticmethod
    def apply(factor: Tensor, cross: Tensor, middle: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        term = torch.linalg.solve_triangular(factor, cross, upper=False)
        return (term.mT @ values.unsqueeze(-1)).squeeze(-1), (term.mT * (term.mT @ middle)).sum(-1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖, whose derivative at 0 counts as 0."""
    square = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)
    still = square == 0
    return torch.where(still, 0.0, torch.where(still, 1.0, square).sqrt())


def adaptive_equation() -> Case:
    """A neural differential equation, its steps chosen by dopri5 and differentiated through."""
    odeint: Any = import_module("torchdiffeq").odeint
    field, head = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3)), nn.Linear(3, CLASSES)
    start, y = torch.randn(BATCH, 3), torch.randint(CLASSES, (BATCH,))

    def each() -> Tensor:
        states: Any = odeint(lambda t, u: field(u), start, torch.tensor([0.0, 0.7]), rtol=1e-3, atol=1e-4)
        return F.cross_entropy(head(states[-1]), y, reduction="none")

    return Case(trained(field, head), lambda: each().mean(), each, batch_size=BATCH)


ROWS: list[Model] = [
    Model("Fourier operator", FAMILY, lambda: fourier(8, modes=(3,)), note="complex weights at the lowest frequencies"),
    Model("Fourier operator, plane", FAMILY, lambda: fourier(6, 6, modes=(3, 2)), note="two space dimensions"),
    Model("complex net", FAMILY, complex_net, note="complex convolution and layers, gates by the modulus"),
    Model("variational Gaussian process", FAMILY, variational_process, exact=False, needs=("gpytorch",),
          note="gpytorch; the loss is one bound for the whole batch"),
    Model("adaptive equation solver", FAMILY, adaptive_equation, smooth=False, needs=("torchdiffeq",),
          whole="samples mix behind aten.copy_", note="torchdiffeq's dopri5, whose steps are held fixed"),
]  # fmt: skip
