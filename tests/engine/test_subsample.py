"""Curvature of a part of the batch: the same samples, the same numbers, and the whole where it cannot be cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
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
    close(q.total, rows(full)[:count].mean(), rows(full))
    alone = tape_of(net, x[:count], y[:count]).curvature(params, d)
    close(q.total, alone.total, rows(full))
    close(q.slope, alone.slope, alone.slope)
    if split:
        check_part(q, full, count)


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
        close(q.total, rows(full)[:count].mean(), rows(full))


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


@pytest.mark.parametrize("samples", [0, -1, 0.0, 1.5, True, "3", float("nan")])
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
