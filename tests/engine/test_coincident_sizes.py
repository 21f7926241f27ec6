"""Two axes are as long as the batch: rows are called exact where it is shown which of them has the samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from curvestep.testing import Problem
from curvestep.testing.truths import double_backward

BATCH = 4


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Normal numbers of these shapes."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


COLUMN, ROW, SQUARE, CUBE = drawn((BATCH, 1), (BATCH,), (BATCH, BATCH), (BATCH, BATCH, 3))
STACK, LONG, FLAT = drawn((BATCH, 5, BATCH, 3), (2 * BATCH, BATCH, 3), (BATCH, 3))
ORDER = torch.tensor([2, 0, 3, 1])


def measured(terms: Callable[[Tensor], Tensor], shape: tuple[int, ...], stated: int | None) -> tuple[bool, Problem]:
    """Whether the rows of the mean of the terms are called exact; the total is right, and rows along axis 0 if so."""
    w, d = drawn(shape, shape)
    w.requires_grad_()
    problem = Problem([w], [d], lambda: terms(w).square().mean(), lambda: terms(w).square().reshape(BATCH, -1).mean(1))
    with curvestep.record(stated) as tape:
        problem.loss().backward()
    found, truth = tape.curvature([w], [d]), double_backward(problem)
    # float64 sums of some hundred products
    torch.testing.assert_close(found.total, truth.curvatures.mean(), rtol=1e-10, atol=1e-12)
    if found.per_sample_exact:
        assert found.per_sample is not None
        torch.testing.assert_close(found.per_sample, truth.curvatures, rtol=1e-10, atol=1e-12)
    return found.per_sample_exact, problem


# Nothing says whether the column has the samples or the row: neither meets a parameter in all its entries alike.
OPEN: dict[str, Callable[[Tensor], Tensor]] = {
    "lerp": lambda w: torch.lerp(COLUMN, ROW, w.sigmoid()),
    "lerp turned": lambda w: torch.lerp(ROW, COLUMN, w.sigmoid()),
    "addcmul": lambda w: torch.addcmul(w, COLUMN, ROW),
    "addcdiv": lambda w: torch.addcdiv(COLUMN, w, ROW),
    "where": lambda w: torch.where(w > 0, COLUMN * w.sin(), ROW * w.sin()),
    "maximum": lambda w: torch.maximum(COLUMN * w.sin(), ROW + 0 * w),
    "one behind the other": lambda w: torch.tanh(COLUMN * w) + ROW,
    "the other behind the one": lambda w: torch.tanh(ROW * w) + COLUMN,
    "a product of batches": lambda w: torch.bmm(FLAT[:, None, :], w[:, :3, None]) + ROW,
}


@pytest.mark.parametrize("stated", [BATCH, None])
@pytest.mark.parametrize("terms", OPEN.values(), ids=OPEN)
def test_operands_on_different_axes_are_not_split(terms: Callable[[Tensor], Tensor], stated: int | None) -> None:
    assert not measured(terms, (BATCH, BATCH), stated)[0]


# One sample's numbers have an axis as long as the batch, which is not the batch.
TAKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "select": lambda w: torch.tanh(CUBE[0] @ w),
    "narrow": lambda w: torch.tanh(STACK.narrow(0, 0, 1) @ w),
    "select beside another axis": lambda w: torch.tanh(STACK[0].transpose(0, 1) @ w),
    "a part of a longer axis": lambda w: torch.tanh(LONG[:BATCH] @ w),
    "one by one": lambda w: torch.stack([torch.tanh(CUBE[i] @ w) for i in range(BATCH)]),
    "unbind": lambda w: torch.stack([torch.tanh(x @ w) for x in CUBE.unbind(0)]),
    "split": lambda w: torch.cat([torch.tanh(x @ w) for x in CUBE.split(1)]),
    "added up": lambda w: torch.stack([torch.tanh(x @ w) for x in CUBE.unbind(0)]).sum(0),
    "index": lambda w: torch.tanh(CUBE[torch.tensor(1)] @ w),
    "diagonal": lambda w: torch.tanh(CUBE.diagonal().t() @ w),
}


@pytest.mark.parametrize("terms", TAKEN.values(), ids=TAKEN)
def test_one_sample_is_no_batch(terms: Callable[[Tensor], Tensor]) -> None:
    assert not measured(terms, (3, 2), BATCH)[0]


def test_what_one_sample_writes_into_a_parameter_is_not_split() -> None:
    def written(w: Tensor) -> Tensor:
        h = w.clone()
        h.narrow(0, 0, 1).mul_(2)
        h.select(0, 0).add_(SQUARE.select(0, 0))
        return h

    assert not measured(written, (BATCH, BATCH), BATCH)[0]


# The samples are on the first axis of the first data that meets a parameter, all rows of which meet the same ones.
SHOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "a product": lambda w: torch.tanh(CUBE @ w),
    "a product, a table across": lambda w: torch.tanh(FLAT @ torch.cat([w, w], 1)) + ROW,
    "a product, a table as long as the batch": lambda w: torch.tanh(CUBE @ w) + COLUMN,
    "a table first": lambda w: torch.tanh((CUBE + FLAT) @ w),
    "element by element": lambda w: torch.tanh(CUBE * w[:, 0]) + FLAT,
    "in another order": lambda w: torch.tanh(FLAT[ORDER] @ w),
    "in another order, two axes alike": lambda w: torch.tanh(CUBE[ORDER] @ w),
    "one position of each": lambda w: torch.tanh(STACK[:, 0] @ w),
    "a product of batches": lambda w: torch.bmm(CUBE, w.expand(BATCH, 3, 2)) + COLUMN,
}


@pytest.mark.parametrize("stated", [BATCH, None])
@pytest.mark.parametrize("terms", SHOWN.values(), ids=SHOWN)
def test_samples_that_meet_the_same_parameters_are_split(terms: Callable[[Tensor], Tensor], stated: int | None) -> None:
    assert measured(terms, (3, 2), stated)[0]


# Activations (B, B, B) or (5, B, B), a weight and a bias: by their sizes, these might have an entry for each sample or
# one for each channel or feature.
Layer = Callable[[Tensor, Tensor, Tensor], Tensor]
MEAN, VARIANCE, MAPS = drawn((BATCH,), (BATCH,), (5, BATCH, BATCH))
PER_CHANNEL: dict[str, Layer] = {
    "instance norm": lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
    "batch norm in evaluation": lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE.exp(), w, b),
    "prelu": lambda x, w, b: F.prelu(x, w) + b[:, None],
    "scale of channels": lambda x, w, b: x * w[:, None] + b[:, None],
    "addcmul": lambda x, w, b: torch.addcmul(x, w, b[:, None]),
    "lerp": lambda x, w, b: torch.lerp(x, w[:, None], b),
    "layer norm": lambda x, w, b: F.layer_norm(x, (BATCH,), w, b),
    "rms norm": lambda x, w, b: F.rms_norm(x, (BATCH,), w) + b,
    "linear": lambda x, w, b: F.linear(x, w.outer(b), b),
    "positions": lambda x, w, b: x + w.outer(b),
}
ACROSS_CHANNELS: dict[str, Layer] = {
    "group norm": lambda x, w, b: F.group_norm(x, 2, w, b),
    "group norm, a channel a group": lambda x, w, b: F.group_norm(x, BATCH, w, b),
    "convolution, a channel a group": lambda x, w, b: F.conv1d(x, w.outer(b)[:, None, :3], b, padding=1, groups=BATCH),
    "convolution": lambda x, w, b: F.conv1d(x, w.outer(b)[:, :, None], b),
    "layer norm of two axes": lambda x, w, b: F.layer_norm(x, (BATCH, BATCH), w.outer(b), b.outer(w)),
}
# A table with as many rows as there are samples, each of which looks one up.
TABLES: dict[str, Layer] = {
    "embedding": lambda x, w, b: F.embedding(ORDER, w.outer(b)) * b,
    "embedding beside the data": lambda x, w, b: x[:, 0] * F.embedding(ORDER, w.outer(b)),
}
ALL = PER_CHANNEL | ACROSS_CHANNELS | TABLES


def check_parts_of(layer: Layer, dim: int, outer: int) -> None:
    """Slope, total and rows of every part are those of its samples, which lie on axis `dim`."""
    x = MAPS[:outer]
    w, b, p, *d = drawn(*[(BATCH,)] * 6)
    params = [t.requires_grad_() for t in (w, b, p)]

    def each() -> Tensor:
        out = layer(torch.tanh(x * p), w, b)
        return (out.sin() + out.square()).movedim(dim, 0).reshape(BATCH, -1).mean(1)

    truth = double_backward(Problem(params, d, lambda: each().mean(), each))
    with curvestep.record(BATCH) as tape:
        each().mean().backward()
    for count in range(1, BATCH + 1):
        for chosen in itertools.combinations(range(BATCH), count):
            found = tape.curvature(params, d, samples=chosen)
            assert found.samples == count and found.per_sample_exact and found.per_sample is not None
            own = list(chosen)
            # float64 sums of some hundred products
            torch.testing.assert_close(found.slope, truth.slopes[own].mean(), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found.total, truth.curvatures[own].mean(), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found.per_sample, truth.curvatures[own], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layer", ALL.values(), ids=ALL)
def test_a_part_where_all_sizes_are_the_batch(layer: Layer) -> None:
    check_parts_of(layer, 0, BATCH)


@pytest.mark.parametrize("layer", PER_CHANNEL.values(), ids=PER_CHANNEL)
def test_a_part_where_the_channels_are_the_samples(layer: Layer) -> None:
    check_parts_of(layer, 1, 5)
