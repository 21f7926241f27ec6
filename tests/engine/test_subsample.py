"""Curvature of a part of the batch: the same samples, the same numbers, and the whole where it cannot be cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.engine.data.part import Part, spread
from curvestep.engine.passes.cut import find
from curvestep.testing import Problem
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph
from tests.engine.parts import check_part, check_parts
from tests.engine.test_laws import Net, apart, close, drawn, few, rows, seeds, tape_of


@pytest.mark.parametrize("graph", [g for g in GRAPHS + TASK_GRAPHS if g.exact], ids=lambda graph: graph.name)
def test_graph(graph: Graph) -> None:
    problem = graph.problem(torch.float64)
    with curvestep.record() as tape:
        problem.loss().backward()
    check_parts(tape, problem, graph.whole)


def test_samples_that_cannot_be_told_apart_are_measured_whole() -> None:
    row = next(g for g in GRAPHS if not g.exact)
    problem = row.problem(torch.float64)
    with curvestep.record() as tape:
        problem.loss().backward()
    full = tape.curvature(problem.params, problem.direction)
    with pytest.warns(UserWarning, match=row.whole):
        q = tape.curvature(problem.params, problem.direction, samples=2)
    assert q.samples == tape.batch_size and torch.equal(q.total, full.total)


def test_without_a_sample_axis_the_whole_is_measured() -> None:
    w = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**3).sum().backward()
    with pytest.warns(UserWarning, match="no sample axis was found"):
        q = tape.curvature([w], [torch.ones(1)], samples=1)
    assert q.samples is None and q.total.item() == 12.0


def test_a_linear_loss_that_loses_its_samples_is_measured_whole() -> None:
    """Nothing bends, so that its curvature can be split; the slope of a part cannot."""
    x, w = torch.randn(3), torch.randn(2, requires_grad=True)
    with curvestep.record() as tape:
        x.scatter(0, torch.tensor([0, 1]), w).mean().backward()
    with pytest.warns(UserWarning, match="the samples are lost in what"):
        q = tape.curvature([w], [torch.ones(2)], samples=1)
    assert q.indices == (0, 1, 2)
    torch.testing.assert_close(q.slope, torch.tensor(2.0) / 3.0)


# -- laws -------------------------------------------------------------------------------------------------------------


@few
@given(apart, seeds, st.integers(1, 7), st.sampled_from(["auto", "tangent", "taylor"]), st.booleans())
def test_a_part_is_that_part_of_the_whole(net: Net, seed: int, count: int, form: Any, split: bool) -> None:
    params, x, y, draw = drawn(net, seed, batch=7)
    d = draw()
    tape = tape_of(net, x, y)
    full = tape.curvature(params, d)
    q = tape.curvature(params, d, samples=count, form=form, per_sample=split)
    assert q.samples == count
    assert q.indices is not None
    own = list(q.indices)
    close(q.total, rows(full)[own].mean(), rows(full))
    alone = tape_of(net, x[own], y[own]).curvature(params, d)
    close(q.total, alone.total, rows(full))
    close(q.slope, alone.slope, alone.slope)
    if split:
        check_part(q, full, count)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("form", ["auto", "tangent", "taylor"])
@pytest.mark.parametrize(
    "bend", [torch.sin, lambda w: w / w.norm(), lambda w: w @ w.T @ w], ids=["sin", "norm", "gram"]
)
def test_a_part_of_a_net_whose_weights_are_bent_is_that_of_its_samples(bend: Any, form: Any, split: bool) -> None:
    """What bends a weight belongs to no sample: its term meets the gradient of the part, not that of the batch."""
    x, y, w, d = (torch.randn(*shape, dtype=torch.float64) for shape in ((8, 4), (8, 3), (4, 3), (4, 3)))
    w.requires_grad_()

    def loss(own: Any) -> Tensor:
        return ((x[own] @ bend(w)) - y[own]).square().mean()

    with curvestep.record() as tape:
        loss(slice(None)).backward()
    q = tape.curvature([w], [d], samples=3, form=form, per_sample=split)
    assert q.indices is not None
    own = list(q.indices)
    (g,) = torch.autograd.grad(loss(own), w, create_graph=True)
    slope = (g * d).sum()
    (h,) = torch.autograd.grad(slope, w)
    size = (h * d).abs().sum() + (g.detach() * d).abs().sum()
    close(q.total, (h * d).sum(), size)
    close(q.slope, slope.detach(), size)
    assert q.per_sample_exact == split


@few
@given(apart, seeds, st.floats(0.001, 1.0))
def test_a_fraction_is_rounded_up(net: Net, seed: int, share: float) -> None:
    params, x, y, draw = drawn(net, seed, batch=7)
    d = draw()
    tape = tape_of(net, x, y)
    count = next(n for n in range(1, 8) if n >= share * 7)
    check_part(tape.curvature(params, d, samples=share), tape.curvature(params, d), count)


@few
@given(apart, seeds, st.integers(1, 4))
def test_over_all_shifts_of_the_batch_the_estimate_has_the_right_mean(net: Net, seed: int, count: int) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    full = tape_of(net, x, y).curvature(params, d)
    shifted = [tape_of(net, x.roll(s, 0), y.roll(s)).curvature(params, d, samples=count).total for s in range(len(x))]
    close(torch.stack(shifted).mean(), full.total, rows(full))


@few
@given(apart, seeds, st.integers(1, 4), st.sampled_from(["split", 0.0, 0.3]))
def test_what_was_kept_of_the_cotangents_does_not_matter(net: Net, seed: int, count: int, memory: Any) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    with curvestep.record(memory=memory) as tape:
        F.cross_entropy(net(x), y).backward()
    check_part(tape.curvature(params, d, samples=count), tape_of(net, x, y).curvature(params, d), count)


# -- losses that reduce ----------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean of squares": lambda out, y: F.mse_loss(out, F.one_hot(y, 3).double()),
    "sum of squares over the batch size": lambda out, y: F.mse_loss(out, F.one_hot(y, 3).double(), reduction="sum") / 5,
    "squares by hand": lambda out, y: (out - F.one_hot(y, 3)).pow(2).sum(1).mean(),
    "sum, then divided": lambda out, y: F.cross_entropy(out, y, reduction="sum") / 5,
    "mean over samples, then over classes": lambda out, y: (out - F.one_hot(y, 3)).pow(4).mean(0).sum(),
    "class weights": lambda out, y: F.cross_entropy(out, y, torch.tensor([0.2, 1.0, 3.0]).double()),
    "an ignored class": lambda out, y: F.cross_entropy(out, y, ignore_index=0),
    "huber": lambda out, y: F.huber_loss(out, F.one_hot(y, 3).double(), delta=0.5),
    "smooth l1, summed": lambda out, y: F.smooth_l1_loss(out, F.one_hot(y, 3).double(), reduction="sum") / 5,
    "binary": lambda out, y: F.binary_cross_entropy(torch.sigmoid(out), F.one_hot(y, 3).double()),
    "binary from logits": lambda out, y: F.binary_cross_entropy_with_logits(out, F.one_hot(y, 3).double()),
    "soft margin": lambda out, y: F.soft_margin_loss(out, 2.0 * F.one_hot(y, 3).double() - 1),
    "masked mean": lambda out, y: (out.square().sum(1) * (y > 0)).sum() / (y > 0).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("form", ["auto", "taylor"])
def test_reduction(name: str, form: Any) -> None:
    net = Net([4], "tanh", "layer", False)
    params, x, _, draw = drawn(net, 3)
    d, y = draw(), torch.tensor([1, 0, 2, 1, 0])
    with curvestep.record() as tape:
        LOSSES[name](net(x), y).backward()
    full = tape.curvature(params, d)
    splits = tape.curvature(params, d, form=form).per_sample_exact  # a mean over axis 0 ends what Taylor can split
    for count in range(1, 5):
        q = tape.curvature(params, d, samples=count, form=form)
        if splits:
            check_part(q, full, count)
        assert q.indices is not None
        close(q.total, rows(full)[list(q.indices)].mean(), rows(full))


# -- sizes that happen to be the batch --------------------------------------------------------------------------------


class Colliding(nn.Module):
    """Positions, width and batch are all four long, and so is every table."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table, self.line = nn.Embedding(4, 4), nn.Linear(4, 4)
        self.start = nn.Parameter(torch.randn(1, 1, 4))
        self.register_buffer("scale", torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.line(x) + self.table(torch.arange(4))  # positions along axis 1
        x = torch.tanh(x * self.scale)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1)
        return F.scaled_dot_product_attention(x, x, x).mean(1)


def test_tables_as_long_as_the_batch() -> None:
    net = Colliding().double()
    x, y = torch.randn(4, 4, 4, dtype=torch.float64), torch.randint(4, (4,))
    params = list(net.parameters())
    d = [torch.randn_like(p) for p in params]
    with curvestep.record() as tape:
        F.cross_entropy(net(x), y).backward()
    check_parts(tape, Problem(params, d, lambda: net(x).sum(), lambda: net(x).sum()), "")
    # and the whole that they are compared with is right: each sample alone, three ways of being four long fewer
    full = rows(tape.curvature(params, d))
    for s in range(4):
        with curvestep.record() as alone:
            F.cross_entropy(net(x[s : s + 1]), y[s : s + 1]).backward()
        close(alone.curvature(params, d).total, full[s], full)


def test_samples_that_are_not_first() -> None:
    net = nn.RNN(3, 4).double()
    x = torch.randn(6, 5, 3, dtype=torch.float64)  # time first
    params = list(net.parameters())
    d = [torch.randn_like(p) for p in params]

    def loss() -> Tensor:
        return net(x)[0].square().mean()

    with curvestep.record(batch_size=5) as tape:
        loss().backward()
    check_parts(tape, Problem(params, d, loss, loss, 5), "")


# -- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [0, -1, 0.0, 1.5, True, "3", float("nan"), (), (1, 1), (0.5,), torch.ones(2)])
def test_anything_but_a_count_or_a_fraction_is_refused(samples: Any) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    with pytest.raises(ValueError, match="samples must be a whole number of at least 1, or a fraction"):
        tape.curvature([w], [torch.ones(1)], samples=samples)


@pytest.mark.parametrize("samples", [5, 6, 1000, 1.0])
def test_as_many_as_there_are_is_the_whole(samples: float) -> None:
    net = Net([4], "gelu", "layer", True)
    params, x, y, draw = drawn(net, 0)
    d = draw()
    tape = tape_of(net, x, y)
    q, full = tape.curvature(params, d, samples=samples), tape.curvature(params, d)
    assert q.samples == full.samples == 5 and torch.equal(rows(q), rows(full))


def test_the_second_step_of_a_net_finds_the_cut_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([4, 4], "gelu", "layer", True)
    params, x, y, draw = drawn(net, 0)
    tape_of(net, x, y).curvature(params, draw(), samples=2)

    def again(*_: Any) -> Any:
        raise AssertionError("the cut was derived again")

    monkeypatch.setattr(find, "derive", again)
    params, x, y, draw = drawn(net, 1)  # other numbers in the same shapes
    d = draw()
    tape = tape_of(net, x, y)
    for count in (1, 3):
        check_part(tape.curvature(params, d, samples=count), tape.curvature(params, d), count)


def test_what_depends_on_values_is_looked_at_every_time() -> None:
    net = nn.Linear(4, 3).double()
    params, x, y = list(net.parameters()), torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    d = [torch.randn_like(p) for p in params]

    def picked(order: Tensor) -> curvestep.Tape:
        with curvestep.record() as tape:
            (-torch.log_softmax(net(x), 1)[order, y]).mean().backward()
        return tape

    in_order = picked(torch.arange(5))
    check_part(in_order.curvature(params, d, samples=2), in_order.curvature(params, d), 2)
    shuffled = picked(torch.tensor([1, 0, 3, 2, 4]))  # the same shapes, but sample 0 now meets the target of sample 1
    with pytest.warns(UserWarning, match="whole batch is measured"):
        assert shuffled.curvature(params, d, samples=2).samples == 5


@pytest.mark.parametrize("memory", ["keep", "split"])
@pytest.mark.parametrize("inside", [False, True])
def test_an_index_that_numbers_the_samples_numbers_those_of_the_part(inside: bool, memory: Any) -> None:
    net = nn.Linear(4, 3).double()
    params, x, y = list(net.parameters()), torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 1])
    d, outside = [torch.randn_like(p) for p in params], torch.arange(6)
    with curvestep.record(memory=memory) as tape:
        number = torch.arange(6) if inside else outside
        (-torch.log_softmax(net(x), 1)[number, y]).mean().backward()
    check_parts(tape, Problem(params, d, lambda: net(x).sum(), lambda: net(x).sum()), "")


def test_a_batch_drawn_by_an_index_is_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([4], "tanh", "none", True)
    params, x, y, draw = drawn(net, 0, batch=8)
    d = draw()
    for seed in (0, 1):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))[:4]
        with curvestep.record() as tape:
            F.cross_entropy(net(x[order]), y[order]).backward()
        check_part(tape.curvature(params, d, samples=2), tape.curvature(params, d), 2)
        monkeypatch.setattr(find, "derive", lambda *_: pytest.fail("the cut was derived again"))


def test_known_cuts_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([4], "tanh", "none", True)

    def measured(batch: int) -> None:
        params, x, y, draw = drawn(net, 0, batch=batch)
        tape_of(net, x, y).curvature(params, draw(), samples=1)

    monkeypatch.setattr(find, "_CUTS", find.OrderedDict())
    measured(2)
    (first,) = find._CUTS
    monkeypatch.setattr(find, "_MOST_ENTRIES", 3 * len(first))
    for batch in (3, 4, 2, 5):  # 2 is looked up again, so that 3 is the oldest when there is no room for 5
        measured(batch)
    assert len(find._CUTS) == 3 and first in find._CUTS


# -- which samples ----------------------------------------------------------------------------------------------------


def by_definition(batch: int, count: int, part: int) -> tuple[int, ...]:
    return tuple(s for s in range(batch) if (s + 1 + part) * count // batch > (s + part) * count // batch)


@given(st.integers(1, 40), st.data())
def test_a_part_is_that_of_the_definition(batch: int, data: st.DataObject) -> None:
    count, part = data.draw(st.integers(1, batch)), data.draw(st.integers(0, 100))
    assert tuple(spread(batch, count, part)) == by_definition(batch, count, part)
    traced = Part.traced(batch, count, torch.tensor(float(part)))
    assert traced.index is not None and tuple(traced.index.tolist()) == by_definition(batch, count, part)


@given(st.integers(1, 40), st.data())
def test_parts_in_a_row_measure_every_sample(batch: int, data: st.DataObject) -> None:
    count, first = data.draw(st.integers(1, batch)), data.draw(st.integers(0, 100))
    row = [s for part in range(first, first - (-batch // count)) for s in spread(batch, count, part)]
    assert set(row) == set(range(batch))
    each = [s for part in range(first, first + batch) for s in spread(batch, count, part)]
    assert all(each.count(s) == count for s in range(batch))


LAYOUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "samples first": lambda x, w: torch.tanh(x @ w).pow(2).sum((1, 2)).mean(),
    "samples second": lambda x, w: torch.tanh(x.transpose(0, 1).contiguous() @ w).pow(2).sum((0, 2)).mean(),
    "samples around tokens": lambda x, w: torch.tanh(x.reshape(-1, 4) @ w).pow(2).sum() / len(x),
    "tokens around samples": lambda x, w: torch.tanh(x.transpose(0, 1).reshape(-1, 4) @ w).pow(2).sum() / len(x),
    "repeated behind one another": lambda x, w: torch.tanh(torch.cat([x, x.flip(1)]) @ w).pow(2).sum() / len(x),
    "layer norm, samples second": lambda x, w: (
        F.layer_norm(torch.tanh(x.transpose(0, 1) @ w), (4,)).pow(4).sum((0, 2)).mean()
    ),
}


@pytest.mark.parametrize("memory", ["keep", "split", 0.3])
@pytest.mark.parametrize("batch", [6, 7])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str, batch: int, memory: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w, d = (torch.randn(n, generator=generator, dtype=torch.float64) for n in ((batch, 3, 4), (4, 4), (4, 4)))
    w.requires_grad_()

    def loss() -> Tensor:
        return LAYOUTS[name](x, w)

    with curvestep.record(batch_size=batch, memory=memory) as tape:
        loss().backward()
    check_parts(tape, Problem([w], [d], loss, loss, batch), "")


@pytest.mark.parametrize("order", [(4, 0, 2), [1], (1, 4), range(1, 5, 3), torch.tensor([3, 1, 0])])
def test_given_samples_are_measured_in_their_order(order: Any) -> None:
    net = Net([4], "gelu", "layer", True)
    params, x, y, draw = drawn(net, 0)
    d = draw()
    tape = tape_of(net, x, y)
    q = tape.curvature(params, d, samples=order)
    assert q.indices == tuple(int(s) for s in order)
    check_part(q, tape.curvature(params, d), len(order))


@pytest.mark.parametrize("order", [(0, 5), (-1,), (7, 2)])
def test_samples_that_the_batch_has_not_are_refused(order: Any) -> None:
    net = Net([4], "gelu", "none", True)
    params, x, y, draw = drawn(net, 0)
    with pytest.raises(ValueError, match="indices of the 5 samples of the batch, each from 0 to 4"):
        tape_of(net, x, y).curvature(params, draw(), samples=order)


@pytest.mark.parametrize("part", [-1, True, 0.5, "0"])
def test_a_part_that_is_no_number_is_refused(part: Any) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    with pytest.raises(ValueError, match="part must be a whole number of at least 0"):
        tape.curvature([w], [torch.ones(1)], samples=1, part=part)


def test_a_sorted_batch_is_measured_without_bias() -> None:
    w, scale = torch.ones(1, requires_grad=True), torch.arange(1.0, 17.0)
    with curvestep.record() as tape:
        (0.5 * scale[:, None] * w.expand(16, 1).pow(2)).sum(1).mean().backward()
    totals = [tape.curvature([w], [torch.ones(1)], samples=4, part=part).total.item() for part in range(4)]
    assert totals == [10.0, 9.0, 8.0, 7.0]  # (4 + 8 + 12 + 16)/4 and so on; the first four have the mean 2.5


def test_standard_error_is_that_of_samples_drawn_without_replacement() -> None:
    """Over all parts of two samples of five the squares of the standard error have the variance of the mean as mean."""
    net = Net([4], "tanh", "none", True)
    params, x, y, draw = drawn(net, 0)
    d = draw()
    tape = tape_of(net, x, y)
    found = [tape.curvature(params, d, samples=pair) for pair in itertools.combinations(range(5), 2)]
    errors = [q.standard_error for q in found]
    means = torch.stack([q.total for q in found])
    close(torch.stack([e.square() for e in errors if e is not None]).mean(), means.var(correction=0), means.square())
    assert tape.curvature(params, d).standard_error == 0.0
    assert tape.curvature(params, d, samples=1).standard_error is None
    assert tape.curvature(params, d, samples=2, per_sample=False).standard_error is None


@pytest.mark.usefixtures("float64")
def test_a_number_of_the_program_is_not_taken_for_a_value() -> None:
    """Cuts are looked up by structure: h + x, where x was the first tensor to be seen, is another than h + 0."""
    x, p = torch.linspace(-1.0, 1.0, 4), torch.tensor(0.7, requires_grad=True)

    def measured(f: Callable[[Tensor], Tensor]) -> curvestep.Curvature:
        with curvestep.record(4) as tape:
            f(torch.tanh(x * p)).square().sum().backward()
        return tape.curvature([p], [torch.tensor(1.0)], samples=[1, 3])

    measured(lambda h: h + x)
    found = measured(lambda h: h + 0)
    with curvestep.record(2) as tape:
        (2 * torch.tanh(x[[1, 3]] * p).square()).sum().backward()
    torch.testing.assert_close(found.total, tape.curvature([p], [torch.tensor(1.0)]).total)
