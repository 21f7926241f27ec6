"""A part of the samples under `record(samples=index)`: the rows of these samples, against each sample's loss alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.testing import Problem
from curvestep.testing.truths import central_differences, double_backward
from tests.engine.parts import check_part
from tests.engine.test_laws import few
from tests.engine.test_owners import BATCH, EDGES, INDEX, LABELS, NODES, apart, net, passed, pooled, scattered, spread

ROWS = len(INDEX)
TARGETS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 1, 0, 1])
PLACES = torch.tensor([0, 1, 0, 1, 2, 3, 0, 0, 1, 2])  # of each row within its sample
COUNTS = torch.arange(ROWS)
TAKEN = torch.tensor([True, False, True, False, False, True, True, True, False, True])
CLASSES = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
Weights = nn.ParameterDict
#: Products over fewer rows, summed in another order in float64.
CLOSE: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-13}


@dataclass(frozen=True)
class Row:
    """A loss of samples that have rows of different number.

    Attributes:
        name: of the test.
        loss: J, a scalar.
        terms: J_s, shape (B,), its mean is J.
        smooth: whether central differences are a truth.
    """

    name: str
    loss: Callable[[Weights], Tensor]
    terms: Callable[[Weights], Tensor]
    smooth: bool = True


# -- means over samples: J_s is the loss of sample s alone -------------------------------------------------------------


def graphs(name: str, layer: Callable[..., Tensor], pool: Callable[..., Tensor]) -> Row:
    def loss(w: Weights) -> Tensor:
        return F.cross_entropy(pool(layer(w, NODES, EDGES), INDEX, BATCH) @ w["out"], LABELS)

    def terms(w: Weights) -> Tensor:
        found = []
        for s in range(BATCH):
            x, edges = apart(s, EDGES)
            h = pool(layer(w, x, edges), torch.zeros(len(x), dtype=torch.int64), 1)
            found.append(F.cross_entropy(h @ w["out"], LABELS[s : s + 1]))
        return torch.stack(found)

    return Row(name, loss, terms)


def into_samples(kind: str, how: str) -> Row:
    """Rows are reduced into their sample, and bent there."""

    def each(w: Weights, x: Tensor, index: Tensor, batch: int) -> Tensor:
        h, start = torch.tanh(x @ w["own"]), torch.zeros(batch, 4, dtype=torch.float64)
        if kind == "scatter_reduce":
            pool = start.scatter_reduce(0, index[:, None].expand_as(h), h, how, include_self=False)
        else:
            pool = start.index_reduce(0, index, h, how, include_self=False)
        return (pool @ w["out"]).exp().sum(1)

    def terms(w: Weights) -> Tensor:
        alone = [NODES[INDEX == s] for s in range(BATCH)]
        return torch.cat([each(w, x, torch.zeros(len(x), dtype=torch.int64), 1) for x in alone])

    return Row(f"{kind}, {how}", lambda w: each(w, NODES, INDEX, BATCH).mean(), terms, how == "mean")


# -- means over rows: J_s is B times what sample s adds to J -----------------------------------------------------------


def of_rows(name: str, each: Callable[[Weights], Tensor], reduce: Any = torch.mean, divisor: float = 0.0) -> Row:
    """J is the sum of all numbers of `each`, rows first, over a divisor: by default their number."""

    def terms(w: Weights) -> Tensor:
        numbers = each(w)
        rows = BATCH * numbers.reshape(ROWS, -1).sum(1) / (divisor or numbers.numel())
        return torch.stack([rows[INDEX == s].sum() for s in range(BATCH)])

    return Row(name, lambda w: reduce(each(w)), terms)


def logits(w: Weights) -> Tensor:
    return torch.tanh(NODES @ w["own"]) @ w["out"]


def entropies(w: Weights) -> Tensor:
    return F.cross_entropy(logits(w), TARGETS, reduction="none")


def experts(w: Weights) -> Tensor:
    h = torch.zeros(ROWS, 4, dtype=torch.float64)
    for expert, rows in ((w["own"], TAKEN.nonzero()[:, 0]), (w["other"], (~TAKEN).nonzero()[:, 0])):
        h = h.index_add(0, rows, torch.tanh(NODES[rows] @ expert))
    return (h @ w["out"]).exp()


def masked(w: Weights) -> Tensor:
    """Rows that a mask picks, put back."""
    picked = torch.tanh(NODES @ w["own"])[TAKEN].square()
    return (torch.zeros(ROWS, 4, dtype=torch.float64).index_copy(0, TAKEN.nonzero()[:, 0], picked) @ w["out"]).exp()


def backwards(w: Weights) -> Tensor:
    """Two rows of a sample trade places, named from the end."""
    order = torch.tensor([1, 0, 2, 3, 4, 5, 6, 7, -1, -2])
    return (torch.tanh(NODES @ w["own"])[order] * torch.tanh(NODES @ w["other"]) @ w["out"]).exp()


def placed(w: Weights) -> Tensor:
    """A table that moves, read by the place of a row within its sample."""
    table = torch.cat([w["own"], w["other"][:1]]).exp()
    return (torch.tanh(NODES @ w["own"] + table[PLACES]) @ w["out"]).square()


def second_axis(w: Weights) -> Tensor:
    """Rows along the second of three axes, and a norm over features."""
    x = torch.stack([NODES, NODES.flip(1)], 1).transpose(0, 1)  # (2, N, 3)
    return (F.layer_norm(torch.tanh(x @ w["own"]), (4,)).pow(3).transpose(0, 1) @ w["out"]).square()


def folded(w: Weights) -> Tensor:
    """Three numbers a row, folded into the rows."""
    h = torch.tanh(NODES.reshape(-1, 1) * w["own"][0]).square()
    return (h.reshape(ROWS, 3, 4).sum(1) @ w["out"]).exp()


def penalty(w: Weights) -> Tensor:
    """It belongs to every sample alike."""
    return 0.1 * w["own"].square().sum() + torch.cosh(w["out"]).sum()


def fused(name: str, each: Callable[..., Tensor], divisor: float) -> Row:
    """A loss of torch that reduces by itself."""
    alone = of_rows(name, lambda w: each(w, "none"), None, divisor)
    return Row(name, lambda w: each(w, "mean"), alone.terms)


PROGRAMS = [
    *[
        graphs(f"{one}, {other}", layer, pool)
        for one, layer in (("index_add", passed), ("scatter_add", scattered))
        for other, pool in (("mean", pooled), ("beside the mean", spread))
    ],
    *[into_samples(op, how) for op in ("scatter_reduce", "index_reduce") for how in ("mean", "amax")],
    of_rows("mean of rows", entropies),
    of_rows("sum of rows over the batch", entropies, lambda t: t.sum() / BATCH, BATCH),
    of_rows("mean of all numbers", lambda w: logits(w).exp()),
    of_rows("mean over rows, then a sum", lambda w: logits(w).exp(), lambda t: t.mean(0).sum(), ROWS),
    of_rows("experts", experts),
    of_rows("a mask", masked),
    of_rows("rows in another order", backwards),
    of_rows("a table of places", placed),
    of_rows("rows along the second axis", second_axis),
    of_rows("numbers folded into rows", folded),
    of_rows("enumerated rows", lambda w: -torch.log_softmax(logits(w), 1)[COUNTS, TARGETS]),
    fused("fused mean", lambda w, how: F.cross_entropy(logits(w), TARGETS, reduction=how), ROWS),
    fused("fused squares", lambda w, how: F.mse_loss(logits(w), NODES, reduction=how), 3 * ROWS),
    fused("class weights", lambda w, how: F.cross_entropy(logits(w), TARGETS, CLASSES, reduction=how),
          float(CLASSES[TARGETS].sum())),
    fused("an ignored class", lambda w, how: F.cross_entropy(logits(w), TARGETS, ignore_index=0, reduction=how),
          float((TARGETS != 0).sum())),
    Row("penalty on weights", lambda w: entropies(w).mean() + penalty(w),
        lambda w: of_rows("", entropies).terms(w) + penalty(w)),
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings(r"ignore:index_reduce\(\) is in beta")
every_program = pytest.mark.parametrize("row", PROGRAMS, ids=lambda row: row.name)
CHOICES = ([0, 1], [3, 1], [1], [3, 0, 1], [1, 2, 3])  # sample 2 is a node without edges: never alone


def problem_of(row: Row) -> Problem:
    w = net()
    used = torch.autograd.grad(row.loss(w), list(w.values()), allow_unused=True)
    params = [p for p, g in zip(w.values(), used, strict=True) if g is not None]
    return Problem(params, [torch.randn_like(p) for p in params], lambda: row.loss(w), lambda: row.terms(w))


def recorded(problem: Problem, memory: Any = "keep") -> curvestep.Tape:
    with curvestep.record(samples=INDEX, memory=memory) as tape:
        problem.loss().backward()
    return tape


@every_program
def test_a_part_is_the_mean_of_what_each_of_its_samples_adds(row: Row) -> None:
    problem = problem_of(row)
    truth, (slopes, curvatures) = double_backward(problem), central_differences(problem, problem.terms)
    torch.testing.assert_close(problem.terms().mean(), problem.loss(), **CLOSE)
    tape = recorded(problem)
    for chosen in CHOICES:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", r"index_reduce\(\) is in beta")
            found = tape.curvature(problem.params, problem.direction, samples=chosen)
        assert found.indices == tuple(chosen) and found.samples == len(chosen) and found.batch_size == BATCH
        assert found.per_sample_exact and found.per_sample is not None
        torch.testing.assert_close(found.per_sample, truth.curvatures[chosen], **CLOSE)
        torch.testing.assert_close(found.total, truth.curvatures[chosen].mean(), **CLOSE)
        torch.testing.assert_close(found.slope, truth.slopes[chosen].mean(), **CLOSE)
        if row.smooth:  # two extrapolations leave terms in h⁶ with h = 1/32, and of the second derivative ε/h²
            torch.testing.assert_close(found.per_sample, curvatures[chosen], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(found.slope, slopes[chosen].mean(), rtol=1e-6, atol=1e-7)


@every_program
@pytest.mark.parametrize("memory", ["split", 0.0, 0.3])
@pytest.mark.parametrize("form", ["auto", "taylor", "tangent"])
def test_whatever_is_held_and_however_it_is_paired(row: Row, memory: Any, form: Any) -> None:
    problem = problem_of(row)
    truth, tape = double_backward(problem).curvatures, recorded(problem, memory)
    for kind in ("exact", "ggn"):
        whole = tape.curvature(problem.params, problem.direction, form=form, kind=kind)
        for part in range(3):
            q = tape.curvature(problem.params, problem.direction, samples=3, part=part, form=form, kind=kind)
            assert q.indices is not None and q.samples == 3
            if whole.per_sample_exact:  # a mean over axis 0 ends what Taylor can split
                check_part(q, whole, 3)
            if kind == "exact":
                torch.testing.assert_close(q.total, truth[list(q.indices)].mean(), **CLOSE)


@every_program
def test_the_parts_of_a_round_have_the_mean_of_the_batch(row: Row) -> None:
    problem = problem_of(row)
    tape = recorded(problem)
    full = tape.curvature(problem.params, problem.direction)
    assert full.per_sample_exact
    parts = [tape.curvature(problem.params, problem.direction, samples=3, part=o) for o in range(BATCH)]
    torch.testing.assert_close(torch.stack([q.total for q in parts]).mean(), full.total, **CLOSE)
    torch.testing.assert_close(torch.stack([q.slope for q in parts]).mean(), full.slope, **CLOSE)
    assert all(q.standard_error is not None and q.standard_error > 0 for q in parts)
    named = tape.curvature(problem.params, problem.direction, samples=0.75, part=torch.tensor(2))
    assert named.indices == parts[2].indices and torch.equal(named.total, parts[2].total)


# -- any numbers of rows, in any order, along any axis -----------------------------------------------------------------


@few
@given(st.data())
def test_rows_of_any_number_along_any_axis(data: st.DataObject) -> None:
    batch = data.draw(st.integers(2, 5))
    owners = data.draw(st.lists(st.integers(0, batch - 1), min_size=batch, max_size=9))
    chosen = data.draw(st.lists(st.integers(0, batch - 1), min_size=1, max_size=batch - 1, unique=True))
    assume(owners != list(range(batch)))  # that is the plain batch
    axis, rows = data.draw(st.integers(0, 2)), len(owners)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    index = torch.tensor(owners)
    # an index within each sample: every row reads another one of its own
    reads = torch.tensor([data.draw(st.sampled_from([i for i, s in enumerate(owners) if s == own])) for own in owners])
    x, w, d = (torch.randn(n, generator=generator, dtype=torch.float64) for n in ((rows, 2, 3), (3, 3), (3, 3)))
    w.requires_grad_()

    def each(x: Tensor, reads: Tensor) -> Tensor:
        h = torch.tanh(x @ w).movedim(0, axis)
        sent = torch.zeros_like(h).index_add(axis, reads, h.index_select(axis, reads).sin())
        return (h * sent).exp().movedim(axis, 0).sum((1, 2))

    def terms() -> Tensor:
        found = []
        for s in range(batch):
            own = [i for i, owner in enumerate(owners) if owner == s]
            within = torch.tensor([own.index(int(reads[i])) for i in own], dtype=torch.int64)
            found.append(each(x[own], within).sum() if own else 0 * w.sum())
        return batch / rows * torch.stack(found)

    with curvestep.record(batch, samples=index) as tape:
        each(x, reads).mean().backward()
    truth = double_backward(Problem([w], [d], lambda: terms().mean(), terms))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = tape.curvature([w], [d], samples=chosen)
    if any(owner in chosen for owner in owners):
        assert not said and found.indices == tuple(chosen) and found.per_sample_exact
    else:
        assert found.samples == batch and "none of the samples of the part has rows" in str(said[0].message)
        chosen = list(range(batch))
    assert found.per_sample is not None
    torch.testing.assert_close(found.per_sample, truth.curvatures[chosen], **CLOSE)
    torch.testing.assert_close(found.slope, truth.slopes[chosen].mean(), **CLOSE)


# -- what is measured whole --------------------------------------------------------------------------------------------


def across(w: Weights) -> Tensor:
    """An edge from the first graph to the last."""
    edges = torch.cat([EDGES, torch.tensor([[0], [9]])], 1)
    return F.cross_entropy(pooled(passed(w, NODES, edges), INDEX, BATCH) @ w["out"], LABELS)


def among_rows(w: Weights) -> Tensor:
    """Attention of packed sequences by a mask: every row reads all, and which count is not known."""
    h = NODES @ w["own"]
    scores = (h @ h.t()).masked_fill(INDEX[:, None] != INDEX, -torch.inf)
    return (scores.softmax(1) @ h @ w["out"]).square().mean()


def normed(w: Weights) -> Tensor:
    return F.batch_norm(NODES @ w["own"], None, None, training=True).pow(3).mean()


WHOLE: dict[str, tuple[Callable[[Weights], Tensor], Any, str]] = {
    "an edge across": (across, 2, "samples mix.*an index leads from rows of one to rows of another"),
    "attention among rows": (among_rows, 2, "samples mix.*an index leads from rows of one to rows of another"),
    "batch norm": (normed, 2, "samples mix"),
    "a node without edges": (PROGRAMS[0].loss, [2], "none of the samples of the part has rows in one of the tensors"),
}


@pytest.mark.parametrize(("loss", "samples", "why"), WHOLE.values(), ids=list(WHOLE))
def test_what_cannot_be_cut_is_measured_whole_and_said(loss: Any, samples: Any, why: str) -> None:
    w = net()
    params = list(w.values())
    d = [torch.randn_like(p) for p in params]
    with curvestep.record(samples=INDEX) as tape:
        loss(w).backward()
    full = tape.curvature(params, d)
    with pytest.warns(UserWarning, match=f"that of the whole batch is measured: .*{why}"):
        found = tape.curvature(params, d, samples=samples)
    assert found.samples == BATCH and torch.equal(found.total, full.total)


# -- an optimizer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("row", [PROGRAMS[0], PROGRAMS[8]], ids=lambda row: row.name)
def test_an_optimizer_measures_a_part(row: Row, parts: int) -> None:
    w = net()
    optimizer = curvestep.RescaledSGD(w.parameters(), curvature_samples=0.5)
    for _ in range(3):  # its slope is compared with the whole gradient's at measurements 1 and 2
        optimizer.zero_grad()
        for _ in range(parts):
            with optimizer.record(samples=INDEX):
                (row.loss(w) / parts).backward()
        params = [p for p in w.values() if p.grad is not None]
        d = [-p.grad for p in params if p.grad is not None]
        truth = double_backward(Problem(params, d, lambda: row.loss(w), lambda: row.terms(w))).curvatures
        optimizer.step()
        step = optimizer.last_step
        assert step is not None and step.absolute_curvature is not None and step.outcome.moved
        pairs = truth.abs()[[0, 2]].mean(), truth.abs()[[1, 3]].mean()
        assert min(abs(step.absolute_curvature - float(q)) / float(q) for q in pairs) < 1e-10
