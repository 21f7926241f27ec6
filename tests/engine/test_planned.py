"""Plans that are looked up by the structure of a recording are those that an analysis makes of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields

import pytest
import torch
from torch import Tensor

import curvestep
from curvestep.engine import Tape
from curvestep.engine.data.curvature import Order
from curvestep.engine.passes import planned as module
from curvestep.engine.passes.analysis import Plan, analyse, gauss_newton
from curvestep.engine.passes.planned import planned
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> OrderedDict[object, object]:
    """No plan is known yet."""
    known: OrderedDict[object, object] = OrderedDict()
    monkeypatch.setattr(module, "_PLANS", known)
    return known


def recorded(graph: Graph) -> tuple[Tape, Sequence[Tensor]]:
    problem = graph.problem(torch.float64)
    with curvestep.record() as tape:
        problem.loss().backward()
    return tape, problem.params


def plans_of(tape: Tape, params: Sequence[Tensor], kind: Order) -> tuple[Plan, Plan]:
    """The plan that is looked up, and that of an analysis."""
    recording, root = tape.recording, tape.recording.root
    moving = {recording.leaves[id(p)][1] for p in params if id(p) in recording.leaves}
    made = analyse(recording, root, moving, recording.computed_from(moving))
    return planned(recording, root, moving, kind), gauss_newton(made, root, moving) if kind == "ggn" else made


def read(plan: Plan) -> dict[str, object]:
    """What a pass reads of a plan: where samples lie in values that an operation reads or makes."""
    values = {v for node in plan.steps for v in (*node.inputs, *node.outputs) if v is not None}
    found = {field.name: getattr(plan, field.name) for field in fields(plan)}
    found["steps"] = [id(node) for node in plan.steps]
    found["axes"] = {v: plan.axes.get(v) for v in values}
    found["clean"], found["foreign"] = plan.clean & values, set(plan.foreign) & values
    return found


@pytest.mark.parametrize("kind", ["exact", "ggn"])
@pytest.mark.parametrize("graph", GRAPHS + TASK_GRAPHS, ids=lambda graph: graph.name)
def test_a_plan_is_that_of_an_analysis_the_second_time_too(
    graph: Graph, kind: Order, plans: OrderedDict[object, object]
) -> None:
    for _ in range(2):
        looked_up, made = plans_of(*recorded(graph), kind)
        assert read(looked_up) == read(made)
    assert len(plans) <= 1


def test_another_batch_size_gradient_or_number_of_samples_is_another_plan(plans: OrderedDict[object, object]) -> None:
    weight = torch.ones(3, 2, requires_grad=True)
    bias = torch.zeros(2, requires_grad=True)

    def measured(rows: int, batch_size: int | None = None) -> int | None:
        with curvestep.record(batch_size) as tape:
            (torch.ones(rows, 3) @ weight + bias).square().mean().backward()
        moving = [p for p in (weight, bias) if p.requires_grad]
        looked_up, made = plans_of(tape, moving, "exact")
        assert read(looked_up) == read(made)
        return looked_up.batch

    assert [measured(4), measured(5), measured(4)] == [4, 5, 4] and len(plans) == 2
    assert measured(4, batch_size=4) == 4 and len(plans) == 3
    bias.requires_grad_(False)
    assert measured(4) == 4 and len(plans) == 4


def test_an_index_is_read_at_every_plan(plans: OrderedDict[object, object]) -> None:
    weight, data = torch.ones(3, 2, requires_grad=True), torch.ones(4, 3)
    for index in (torch.arange(4), torch.zeros(4, dtype=torch.int64)):
        with curvestep.record() as tape:
            (data @ weight)[index, torch.tensor([0, 1, 1, 0])].mean().backward()
        looked_up, made = plans_of(tape, [weight], "exact")
        assert read(looked_up) == read(made)
    assert not plans


def test_known_plans_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch, plans: OrderedDict[object, object]) -> None:
    weight = torch.ones(3, requires_grad=True)

    def measured(rows: int) -> None:
        with curvestep.record() as tape:
            (torch.ones(rows, 3) * weight).square().mean().backward()
        plans_of(tape, [weight], "exact")

    measured(2)
    (first,) = plans
    assert isinstance(first, tuple)
    monkeypatch.setattr(module, "_MOST_ENTRIES", 3 * len(first))
    for rows in (3, 4, 2, 5):  # 2 is looked up again, so that 3 is the oldest when there is no room for 5
        measured(rows)
    assert len(plans) == 3 and first in plans
