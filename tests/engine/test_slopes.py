"""The slope of each sample's loss, against autograd's gradient of each sample's loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import curvestep
from curvestep.engine import Memory, slopes_sweep

BATCH = 12
TARGETS = torch.arange(BATCH) % 3


class Attention(nn.Module):
    """A transformer block over sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(x).mean(1))


class Recurrent(nn.Module):
    """Words through a recurrent layer, with a transformed weight behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell = nn.Embedding(11, 8), nn.GRU(8, 8, batch_first=True)
        self.out = nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(self.words(x))[0][:, -1])


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "tanh": (
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
        lambda: torch.randn(BATCH, 5, dtype=torch.float64),
    ),
    "batch norm, dropout": (
        lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3)),
        lambda: torch.randn(BATCH, 5, dtype=torch.float64),
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
        ),
        lambda: torch.randn(BATCH, 3, 8, 8, dtype=torch.float64),
    ),
    "attention": (Attention, lambda: torch.randn(BATCH, 5, 8, dtype=torch.float64)),
    "recurrent": (Recurrent, lambda: torch.randint(11, (BATCH, 6))),
}


@pytest.mark.parametrize("memory", ["keep", "split", 0.5])
@pytest.mark.parametrize("name", MODELS)
def test_the_slopes_of_samples_are_those_of_their_gradients(name: str, memory: Memory | float) -> None:
    torch.manual_seed(0)
    make, data = MODELS[name]
    net, x = make().double(), data()
    parameters = list(net.parameters())
    direction = [torch.randn_like(p) for p in parameters]

    def losses() -> Tensor:
        torch.manual_seed(1)  # the same dropout mask
        return functional.cross_entropy(net(x), TARGETS, reduction="none")

    with curvestep.record(memory=memory) as tape:
        losses().mean().backward()
    found = slopes_sweep(tape.recording, parameters, direction)
    expected = []
    for each in losses().unbind():
        gradients = torch.autograd.grad(each, parameters, retain_graph=True, allow_unused=True)
        expected.append(sum((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None))
    assert found.per_sample is not None and found.per_sample_exact
    torch.testing.assert_close(found.per_sample, torch.stack(expected), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(found.total, torch.stack(expected).mean(), rtol=1e-11, atol=1e-13)


def test_what_is_not_finite_proves_nothing() -> None:
    """The slope of the tape is −∞ and that of the gradient NaN: the pass says so and accuses nobody of a write."""
    w, x = torch.ones(2, requires_grad=True), torch.tensor([[1.0, 1.0], [float("inf"), -1.0]])
    with curvestep.record() as tape:
        (x @ w).square().mean().backward()
    found = tape.curvature([w], [torch.tensor([1.0, 1.0])])
    assert not found.slope.isfinite() and not found.total.isfinite()
