"""The number of samples: read off the data, stated, or stated wrongly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep

BATCH = 8
TARGETS = torch.arange(BATCH) % 5


class Recurrent(nn.Module):
    """Time first: (T, B, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.out = nn.GRU(6, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cells(x)[0][-1])


class Turned(nn.Module):
    """Features first: (features, B)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.t())


def _curvature(net: nn.Module, x: Tensor, batch_size: Any) -> tuple[curvestep.Curvature, Tensor]:
    """What the engine says, and double backward of each sample's loss."""
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]
    with curvestep.record(batch_size=batch_size) as tape:
        F.cross_entropy(net(x), TARGETS).backward()
    rows = []
    for row in F.cross_entropy(net(x), TARGETS, reduction="none"):
        grads = torch.autograd.grad(row, params, create_graph=True)
        slope = torch.stack([(g * d).sum() for g, d in zip(grads, direction, strict=True)]).sum()
        again = torch.autograd.grad(slope, params, retain_graph=True)
        rows.append(torch.stack([(h * d).sum() for h, d in zip(again, direction, strict=True)]).sum())
    return tape.curvature(params, direction), torch.stack(rows)


@pytest.mark.parametrize(
    ("net", "shape"), [(Recurrent, (3, BATCH, 6)), (Turned, (6, BATCH))], ids=["time first", "features first"]
)
def test_a_stated_number_finds_the_samples_along_another_axis(net: Any, shape: tuple[int, ...]) -> None:
    found, truth = _curvature(net().double(), torch.randn(shape, dtype=torch.float64), BATCH)
    assert found.per_sample is not None and found.per_sample_exact
    # float64 rounding over some tens of operations
    torch.testing.assert_close(found.per_sample, truth, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "shape", "stated"),
    [(Recurrent, (3, BATCH, 6), None), (Turned, (6, BATCH), None), (Recurrent, (BATCH, BATCH, 6), BATCH)],
    ids=["time first", "features first", "as many steps as samples"],
)
def test_where_the_samples_cannot_be_told_the_split_is_not_called_exact(net: Any, shape: Any, stated: Any) -> None:
    found, truth = _curvature(net().double(), torch.randn(shape, dtype=torch.float64), stated)
    assert not found.per_sample_exact
    assert found.total.item() == pytest.approx(truth.mean().item(), rel=1e-11)


@pytest.mark.parametrize("stated", [5, 4, 16])
def test_a_number_that_no_tensor_has_is_refused(stated: int) -> None:
    net, x = nn.Linear(6, 5).double(), torch.randn(BATCH, 6, dtype=torch.float64)
    with curvestep.record(batch_size=stated) as tape:
        F.cross_entropy(torch.tanh(net(x)), TARGETS).backward()
    params = list(net.parameters())
    with pytest.raises(
        curvestep.SampleAxisError, match=rf"the {stated} samples that batch_size states.*shape \(8, 6\)"
    ):
        tape.curvature(params, [torch.ones_like(p) for p in params])


def test_samples_where_there_is_no_data_are_refused() -> None:
    theta = torch.ones(3, requires_grad=True)
    with curvestep.record(batch_size=2) as tape:
        (theta**2).sum().backward()
    with pytest.raises(curvestep.SampleAxisError, match="no data meets a parameter"):
        tape.curvature([theta], [torch.ones(3)])


@pytest.mark.parametrize("stated", [0, -3, 2.0, True, "8"])
def test_what_is_no_number_of_samples_is_refused(stated: Any) -> None:
    with pytest.raises(ValueError, match="batch_size must be a whole number"), curvestep.record(batch_size=stated):
        pass


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_loss_of_one_element_has_no_shape_to_the_optimizer(shape: tuple[int, ...]) -> None:
    net, x = nn.Linear(6, 5), torch.randn(BATCH, 6)
    optimizer = curvestep.RescaledSGD(net.parameters())
    with optimizer.record() as tape:
        F.cross_entropy(net(x), TARGETS).reshape(shape).backward()
    assert tape.loss.shape == ()
    assert optimizer.step().shape == ()
    assert optimizer.last_step is not None and optimizer.last_step.outcome is curvestep.Outcome.TAKEN


@pytest.mark.parametrize("samples", [None, 3])
def test_a_full_batch_in_an_order_drawn_inside_has_the_rows_of_that_order(samples: int | None) -> None:
    net = torch.nn.Linear(3, 2).double()
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,))
    params = list(net.parameters())
    d = [torch.randn_like(p) for p in params]
    with curvestep.record(batch_size=8) as tape:
        order = torch.randperm(8)
        torch.nn.functional.cross_entropy(net(x[order]), y[order]).backward()
    found = tape.curvature(params, d, samples=samples)
    assert found.per_sample is not None and found.per_sample_exact and found.indices is not None
    for row, place in zip(found.per_sample, found.indices, strict=True):
        s = int(order[place])
        with curvestep.record() as alone:
            torch.nn.functional.cross_entropy(net(x[s : s + 1]), y[s : s + 1]).backward()
        # the same sums of some ten products in another order
        torch.testing.assert_close(row, alone.curvature(params, d).total, rtol=1e-12, atol=1e-14)
