"""Where the samples are: rows of per_sample belong to the right samples, or the answer says that it does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.engine.data.samples import Marker, SampleAxis, merge, rows, through_permute, through_view
from curvestep.testing import Problem
from curvestep.testing.truths import double_backward


@pytest.mark.parametrize(
    ("axis", "old", "new", "found"),
    [
        (SampleAxis(0), (4, 6), (4, 2, 3), SampleAxis(0)),
        (SampleAxis(0), (4, 6), (24,), SampleAxis(0, inner=6)),
        (SampleAxis(0, inner=6), (24,), (4, 6), SampleAxis(0)),
        (SampleAxis(0, inner=6), (24,), (8, 3), SampleAxis(0, inner=2)),
        (SampleAxis(1), (5, 4, 6), (20, 6), SampleAxis(0, outer=5)),
        (SampleAxis(1), (5, 4, 6), (5, 24), SampleAxis(1, inner=6)),
        (SampleAxis(0, outer=5), (20, 6), (5, 4, 6), SampleAxis(1)),
        (SampleAxis(0), (4, 6), (6, 4), Marker.LOST),
        (SampleAxis(0), (4, 6), (3, 8), Marker.LOST),
        (SampleAxis(0), (4, 1), (1, 4, 1, 1), SampleAxis(1)),
    ],
)
def test_views(axis: SampleAxis, old: tuple[int, ...], new: tuple[int, ...], found: SampleAxis | Marker) -> None:
    assert through_view(axis, old, new, 4) == found


@pytest.mark.parametrize("axis", [SampleAxis(0), SampleAxis(1, outer=2), SampleAxis(1, inner=3), SampleAxis(2, 2, 2)])
def test_rows_follow_the_definition(axis: SampleAxis) -> None:
    """Index i along the axis belongs to sample (i // inner) % batch: the sum by hand."""
    batch, shape = 4, [3, 3, 3]
    shape[axis.dim] = axis.outer * batch * axis.inner
    values = torch.randn(shape, dtype=torch.float64)
    owner = torch.arange(shape[axis.dim]) // axis.inner % batch  # the sample of each position along the axis
    by_hand = [values.index_select(axis.dim, (owner == s).nonzero().flatten()).sum() for s in range(batch)]
    assert torch.allclose(rows(values, axis, batch), torch.stack(by_hand), rtol=1e-13)


def test_permute_and_merge() -> None:
    assert through_permute(SampleAxis(0, inner=2), (2, 0, 1)) == SampleAxis(1, inner=2)
    a, b = SampleAxis(0), SampleAxis(1)
    assert merge([a, Marker.SHARED, a]) == a
    assert merge([a, b]) is Marker.LOST
    assert merge([a, Marker.LOST]) is Marker.LOST
    assert merge([a, Marker.SUMMED]) == a
    assert merge([Marker.SUMMED, Marker.POOLED, Marker.SHARED]) is Marker.POOLED
    assert merge([Marker.SHARED]) is Marker.SHARED


def check(net: nn.Module, x: Tensor) -> curvestep.Tape:
    """Record the mean of the squares of the net's outputs and compare rows with double backward."""
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]

    def terms() -> Tensor:
        out = net(x)
        return out.square().reshape(len(out), -1).sum(1)

    with curvestep.record() as tape:
        terms().mean().backward()
    q = tape.curvature(params, direction)
    truth = double_backward(Problem(params, direction, lambda: terms().mean(), terms))
    assert q.per_sample_exact and q.per_sample is not None
    # float64 sums of a few dozen products
    assert torch.allclose(q.per_sample, truth.curvatures, rtol=1e-10)
    return tape


SIZES = [(5, 5, 5), (3, 5, 3), (5, 3, 5), (4, 4, 8), (2, 4, 2), (1, 3, 2), (6, 6, 6)]


@pytest.mark.parametrize(("batch", "inside", "outside"), SIZES)
def test_sizes_that_coincide(batch: int, inside: int, outside: int) -> None:
    """Widths, tokens and classes that equal the batch must not be taken for it."""
    torch.manual_seed(batch)
    net = nn.Sequential(nn.Linear(inside, batch), nn.Tanh(), nn.LayerNorm(batch), nn.Linear(batch, outside)).double()
    assert check(net, torch.randn(batch, inside, dtype=torch.float64)).batch_size == batch
    assert check(net, torch.randn(batch, batch, inside, dtype=torch.float64)).batch_size == batch


class Positions(nn.Module):
    """A learned table and a fixed one, both as long as the batch."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.learned = nn.Parameter(torch.randn(length, width))
        self.register_buffer("fixed", torch.randn(length, width))
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(x * self.learned + self.get_buffer("fixed")))


def test_a_table_as_long_as_the_batch() -> None:
    check(Positions(4, 3).double(), torch.randn(4, 4, 3, dtype=torch.float64))


X, Y = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 2.0, 1.5, 0.25], dtype=torch.float64)


@pytest.mark.parametrize("stated", [None, 4])
@pytest.mark.parametrize(
    "terms",
    [
        lambda h: F.binary_cross_entropy_with_logits(h, Y.sigmoid(), pos_weight=WEIGHTS, reduction="none").mean(1),
        lambda h: F.cross_entropy(h, torch.tensor([3, 0, 2, 2]), WEIGHTS, reduction="none"),
        lambda h: F.batch_norm(h, WEIGHTS, WEIGHTS, WEIGHTS, WEIGHTS).exp().mean(1),
        lambda h: F.layer_norm(h, (4,), WEIGHTS).exp().mean(1),
        lambda h: torch.where(WEIGHTS > 1, h * WEIGHTS, h.exp()).square().mean(1),
        lambda h: h[:, torch.tensor([0, 0, 3, 1])].square().mean(1),
    ],
    ids=["pos_weight", "class weights", "running statistics", "scales", "where", "index"],
)
def test_tables_that_lie_across_the_samples_are_none_of_theirs(terms: Any, stated: int | None) -> None:
    w = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    d = torch.randn_like(w)
    with curvestep.record(stated) as tape:
        terms(torch.tanh(X @ w)).mean().backward()
    found = tape.curvature([w], [d])
    truth = double_backward(
        Problem([w], [d], lambda: terms(torch.tanh(X @ w)).mean(), lambda: terms(torch.tanh(X @ w)))
    )
    assert found.per_sample_exact and found.per_sample is not None and found.samples_guessed is (stated is None)
    assert torch.allclose(found.per_sample, truth.curvatures, rtol=1e-10)  # as in `check`


@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_frozen_first_layers(frozen: int) -> None:
    """The data meets only weights that do not move; the batch is still that of the data."""
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    for layer in list(net)[:frozen]:
        layer.requires_grad_(False)
    params = [p for p in net.parameters() if p.requires_grad]
    x, y = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 1])
    with curvestep.record() as tape:
        F.cross_entropy(net(x), y).backward()
    q = tape.curvature(params, [torch.ones_like(p) for p in params])
    assert tape.batch_size == 3
    assert q.per_sample is not None and q.per_sample.shape == (3,) and q.per_sample_exact


def test_time_first() -> None:
    """A recurrent net with the samples on axis 1 needs to be told the batch size; then the rows are right."""
    torch.manual_seed(0)
    net = nn.GRU(2, 3).double()
    x = torch.randn(5, 4, 2, dtype=torch.float64)
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]

    def terms() -> Tensor:
        return net(x)[0].square().sum((0, 2))

    with curvestep.record(batch_size=4) as tape:
        terms().mean().backward()
    q = tape.curvature(params, direction)
    truth = double_backward(Problem(params, direction, lambda: terms().mean(), terms))
    # the axis of the samples is not the first one of the data: known exactly or not at all, and the total stands
    assert torch.allclose(q.total, truth.curvatures.mean(), rtol=1e-10)
    if q.per_sample_exact and q.per_sample is not None:
        assert torch.allclose(q.per_sample, truth.curvatures, rtol=1e-10)


def matrix(h: Tensor) -> Tensor:
    """A positive definite matrix (4, 4) that is made of all samples, the rows of h."""
    return h.mT @ h / 4 + torch.eye(4, dtype=h.dtype)


# Each row of the result is one sample's, though what it meets is made of all samples, as in batch normalisation.
TOGETHER: dict[str, Callable[[Tensor], Tensor]] = {
    "solve": lambda h: torch.linalg.solve(matrix(h), h.mT).mT,
    "solve from the right": lambda h: torch.linalg.solve(matrix(h), h, left=False),
    "solve for each": lambda h: torch.linalg.solve(matrix(h).expand(3, 4, 4), h[..., None]),
    "triangular solve": lambda h: torch.linalg.solve_triangular(matrix(h), h.mT, upper=False).mT,
    "least squares": lambda h: torch.linalg.lstsq(matrix(h), h.mT)[0].mT,
    "Cholesky solve": lambda h: torch.cholesky_solve(h.mT, torch.linalg.cholesky(matrix(h))).mT,
    "solve with factors": lambda h: torch.linalg.lu_solve(*torch.linalg.lu_factor(matrix(h)), h.mT).mT,
    "inverse": lambda h: h @ torch.linalg.inv(matrix(h)),
    "quadratic form": lambda h: torch.einsum("bi,ij,bj->b", h, matrix(h), h),
    "bilinear": lambda h: F.bilinear(h, h, matrix(h)[None]),
    "addmm": lambda h: torch.addmm(h, h, matrix(h)),
    "baddbmm": lambda h: torch.baddbmm(h[:, None], h[:, None], matrix(h).expand(3, 4, 4)),
    "as many rows as samples": lambda h: matrix(h)[:3] * h,
    "index": lambda h: h.var(0)[torch.tensor([[0, 1], [2, 1], [0, 3]])] * h[:, :2],
    "embedding": lambda h: F.embedding(torch.tensor([0, 2, 1]), matrix(h)) * h,
    "where": lambda h: torch.where(h > 0, h, h.mean(0)),
    "maximum": lambda h: torch.maximum(h, h.mean(0)),
    "cat": lambda h: torch.cat([h, h.var(0).expand(3, 4)], 1),
    "scatter": lambda h: h.scatter(1, torch.tensor([[0], [1], [2]]), h.mean(0)[:1].expand(3, 1)),
    "softmax of a mean temperature": lambda h: (h / (1 + h.square().mean())).softmax(1),
    "standardised": lambda h: (h - h.mean(0)) / (1 + h.std(0)),
    "layer norm": lambda h: F.layer_norm(h, (4,), h.mean(0), h.var(0)),
}
# Of these the rows could be called exact and are not.
UNSPLIT = {"least squares", "Cholesky solve", "solve with factors", "index", "embedding"}


@pytest.mark.parametrize("name", TOGETHER)
def test_a_row_that_meets_what_all_samples_made_is_that_samples_term(name: str) -> None:
    w, x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 5, dtype=torch.float64)
    d = torch.randn_like(w)

    def terms() -> Tensor:
        return TOGETHER[name](torch.tanh(x @ w)).square().reshape(3, -1).mean(1)

    with curvestep.record(3) as tape:
        terms().mean().backward()
    found, truth = tape.curvature([w], [d]), double_backward(Problem([w], [d], lambda: terms().mean(), terms))
    # float64 sums of some hundred products
    torch.testing.assert_close(found.total, truth.curvatures.mean(), rtol=1e-10, atol=1e-12)
    assert found.per_sample_exact is (name not in UNSPLIT)
    if found.per_sample_exact:
        assert found.per_sample is not None
        torch.testing.assert_close(found.per_sample, truth.curvatures, rtol=1e-10, atol=1e-12)


def test_a_loss_over_pairs_of_samples_has_no_exact_split() -> None:
    w = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 3, dtype=torch.float64)
    with curvestep.record() as tape:
        z = torch.tanh(x @ w)
        ((z @ z.t()) ** 2).mean().backward()
    q = tape.curvature([w], [torch.ones_like(w)])
    assert not q.per_sample_exact


def test_a_full_batch_loss_without_data_has_no_split() -> None:
    w = torch.randn(3, dtype=torch.float64, requires_grad=True)
    with curvestep.record() as tape:
        (w**4).sum().backward()
    q = tape.curvature([w], [torch.ones_like(w)])
    assert tape.batch_size is None and q.per_sample is None and not q.per_sample_exact
    assert torch.allclose(q.total, 12 * w.square().sum(), rtol=1e-13)


@pytest.mark.parametrize("length", [4, 5])
def test_as_many_positions_as_samples_are_still_positions(length: int) -> None:
    # A curved operation on the table of positions alone: its term belongs to all samples, not to the one whose number
    # the position has.
    torch.manual_seed(0)
    table, inner, words, head = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((6, 3), (3, 3), (7, 3), (3, 7))
    )
    params = [table, inner, words, head]
    tokens, targets = torch.randint(0, 7, (4, length)), torch.randint(0, 7, (4, length))

    def loss_of(rows: slice) -> torch.Tensor:
        positions = torch.tanh(table[torch.arange(length)] @ inner)
        logits = torch.tanh(words[tokens[rows]] + positions) @ head
        return F.cross_entropy(logits.flatten(0, 1), targets[rows].flatten())

    with curvestep.record() as tape:
        loss_of(slice(None)).backward()
    direction = [torch.randn_like(p) for p in params]
    found = tape.curvature(params, direction)
    expected = []
    for sample in range(4):
        gradients = torch.autograd.grad(loss_of(slice(sample, sample + 1)), params, create_graph=True)
        slope = torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()
        second = torch.autograd.grad(slope, params)
        expected.append(torch.stack([(h * d).sum() for h, d in zip(second, direction, strict=True)]).sum())
    assert found.per_sample_exact and found.per_sample is not None
    torch.testing.assert_close(found.per_sample, torch.stack(expected), rtol=1e-12, atol=1e-12)  # roundings
