"""The experiments on open regimes: their surfaces, their steps, their rows."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import curvestep
from benchmarks.regimes import batches, overshoot, plan, relu
from benchmarks.regimes.execute import run_case, run_regimes
from benchmarks.regimes.layers import LayerStepper
from benchmarks.regimes.plan import CASES, BatchCase, MomentumCase, OvershootCase, ReluCase
from benchmarks.regimes.row import DIVERGED, FINISHED, RegimeRow, case_key
from benchmarks.regimes.span import SpanStepper, _spectral
from benchmarks.repository import rows
from curvestep.directions import Gradient
from curvestep.steprules import CurvatureRescaling

TORCH = {
    "root": lambda theta: (1.0 + theta[0] ** 2).sqrt(),
    "rosenbrock": lambda theta: (1.0 - theta[0]) ** 2 + 100.0 * (theta[1] - theta[0] ** 2) ** 2,
    "quadratic": lambda theta: 0.5 * (torch.tensor(overshoot.SCALES) * theta.square()).sum(),
}


# -- overshoot --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(TORCH))
def test_derivatives_of_the_surfaces(name: str, float64: torch.dtype) -> None:
    surface = overshoot.SURFACES[name]  # pyright: ignore[reportArgumentType]
    at = tuple(torch.randn(len(surface.start)).tolist())
    d = torch.randn(len(at))
    theta = torch.tensor(at, requires_grad=True)
    (gradient,) = torch.autograd.grad(TORCH[name](theta), theta, create_graph=True)
    curvature = torch.autograd.grad(gradient @ d, theta)[0] @ d
    # a handful of operations in float64
    assert surface.loss(at) == pytest.approx(TORCH[name](theta).item(), rel=1e-13)
    assert surface.gradient(at) == pytest.approx(gradient.tolist(), rel=1e-13)
    assert surface.curvature(at, tuple(d.tolist())) == pytest.approx(curvature.item(), rel=1e-12)


@pytest.mark.parametrize("guard", [0, 1, 2])
def test_the_descent_is_that_of_the_optimizer(guard: int, float64: torch.dtype) -> None:
    found = overshoot.descend(overshoot.ROSENBROCK, guard, steps=30)
    theta = torch.tensor([overshoot.ROSENBROCK.start], requires_grad=True)
    optimizer = curvestep.RescaledSGD([theta], lr=0.5, guard_every=guard)
    for step, expected in enumerate(found.path):
        # thirty steps in a curved valley let differences of the last bit grow
        assert theta[0].tolist() == pytest.approx(expected, rel=1e-9), f"after {step} steps"
        optimizer.zero_grad()
        with optimizer.record(batch_size=1):
            x, y = theta[:, 0], theta[:, 1]
            ((1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2).mean().backward()
        optimizer.step()


def test_rows_of_overshoot_say_where_it_went() -> None:
    lost, kept = (overshoot.run_overshoot(OvershootCase("root", guard)) for guard in (0, 1))
    assert lost.ended == FINISHED and lost.numbers["looks"] == 0.0, "The longest step keeps it within reach."
    assert lost.last is not None and lost.last > 1.0, "√(1 + θ²) is 1 at its minimum."
    assert kept.ended == "converged" and not kept.ran_away
    looks = kept.numbers["looks"]
    assert looks is not None and looks >= kept.steps, "a look at every step at least"


# -- steps ------------------------------------------------------------------------------------------------------------


class Points(nn.Module):
    """Two parameters of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([3.0, -1.0]))
        self.b = nn.Parameter(torch.tensor([0.5, 2.0]))

    def loss(self, mixed: float = 0.0) -> Tensor:
        """A quadratic of three equal samples; `mixed` ties the two together."""
        a, b = self.a * torch.ones(3, 2), self.b * torch.ones(3, 2)
        each = 0.5 * (a * a * 2.0).sum(1) + 0.5 * (b * b * 8.0).sum(1) + mixed * (a * b).sum(1)
        return each.mean()


def test_first_step_on_the_span_is_that_of_algorithm_1(float64: torch.dtype) -> None:
    ours, theirs = Points(), Points()
    optimizer = curvestep.RescaledSGD(theirs.parameters(), lr=0.7)
    with optimizer.record():
        theirs.loss(0.5).backward()
    optimizer.step()
    seen = SpanStepper(ours, Gradient(), 0.7).step(lambda: ours.loss(0.5))
    assert seen.outcome == "TAKEN" and seen.slope is not None and seen.slope > 0.0
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.tolist() == pytest.approx(q.tolist(), rel=1e-12)  # two orders of the same sums


def test_second_step_reaches_the_minimum_on_the_span(float64: torch.dtype) -> None:
    net = Points()
    stepper = SpanStepper(net, Gradient(), 0.5)
    stepper.step(lambda: net.loss(0.5))
    # without memory of the first matrix the model is the loss itself
    stepper.average.zero_()
    stepper.weight = 0.0
    assert stepper.last is not None
    last = [each.clone() for each in stepper.last]
    net.zero_grad()
    net.loss(0.5).backward()
    gradient = [p.grad for p in net.parameters() if p.grad is not None]
    stepper.step(lambda: net.loss(0.5))
    net.zero_grad()
    net.loss(0.5).backward()
    for direction in (gradient, last):
        slope = sum(
            (p.grad * d).sum().item() for p, d in zip(net.parameters(), direction, strict=True) if p.grad is not None
        )
        assert slope == pytest.approx(0.0, abs=1e-11)  # rounding of numbers of order 10


def test_spectral_positive_part_of_one_number_is_the_maximum() -> None:
    for old, new in ((2.0, 3.0), (3.0, 2.0)):
        average, current = torch.tensor([[old]]), torch.tensor([[new]])
        assert (average + _spectral(current - average, lambda values: values.clamp(min=0.0))).item() == max(old, new)


def test_layers_take_their_own_steps(float64: torch.dtype) -> None:
    """Where the tensors have nothing to do with each other each goes to its own minimum."""
    net = Points()
    seen = LayerStepper(net, Gradient(), 0.5).step(lambda: net.loss())
    assert seen.slope == pytest.approx(4.0 * 10.0 + 64.0 * 4.25)
    for p in net.parameters():
        assert p.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


# -- networks and runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["vgg", "resnet"])
def test_twins_start_alike(net: str) -> None:
    case = ReluCase(net, "relu", "red-adam", "exact", 0)  # pyright: ignore[reportArgumentType]
    twins: list[nn.Module] = []
    for activation in ("relu", "softplus"):
        torch.manual_seed(1)
        twins.append(relu.network(replace(case, activation=activation)))
    for p, q in zip(twins[0].parameters(), twins[1].parameters(), strict=True):
        assert torch.equal(p, q)
    kinks, smooth = ([type(m) for m in twin.modules() if isinstance(m, (nn.ReLU, nn.Softplus))] for twin in twins)
    assert len(kinks) == len(smooth) > 5 and set(kinks) == {nn.ReLU} and set(smooth) == {nn.Softplus}


def test_memory_is_before_the_last_layer() -> None:
    net = batches.network(BatchCase("red-sgd", 4, "both", 0))
    names = [type(module).__name__ for module in net.children()]
    assert names[-2:] == ["FeatureMemory", "Linear"]


@pytest.mark.parametrize(
    "case",
    [
        BatchCase("red-adam", 256, "both", 1),
        MomentumCase("digits", "sgd", "signed", 0.5, 0),
        MomentumCase("digits", "adam", "span", 0.5, 0),
        MomentumCase("digits", "sgd", "layers", 0.1, 0),
    ],
    ids=str,
)
def test_a_run_is_repeatable(case: BatchCase | MomentumCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "DIGITS_STEPS", 12)
    first, again = run_case(case, None), run_case(case, None)
    assert replace(first, seconds=0.0) == replace(again, seconds=0.0)
    assert first.case == asdict(case) and sum(first.outcomes.values()) == first.steps
    assert first.first == pytest.approx(math.log(10), abs=0.2), "ten classes, nothing learnt yet"
    assert first.first is not None and first.last is not None and first.last < first.first
    assert first.curve[-1][0] == first.steps


def test_what_is_stored_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "overshoot", (OvershootCase("root", 1), OvershootCase("rosenbrock", 1)))
    store, told = rows(tmp_path, RegimeRow), list[str]()
    run_regimes(["overshoot"], store, told.append)
    assert told[0] == "overshoot: 2 of 2 runs to make" and len(told) == 3
    held = store.read()
    run_regimes(["overshoot"], store, told.append)
    assert told[3:] == ["overshoot: 0 of 2 runs to make"] and store.read() == held
    run_regimes(["overshoot"], store, told.append, afresh=True)
    assert told[4] == "overshoot: 2 of 2 runs to make" and len(store.read()) == 2


# -- rows -------------------------------------------------------------------------------------------------------------


def a_row(guard: int = 1, last: float | None = 0.5) -> RegimeRow:
    return RegimeRow("overshoot", asdict(OvershootCase("root", guard)), "finished", 3, 1.0, last, 1.5)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    store = rows(tmp_path / "rows", RegimeRow)
    store.append(a_row(last=0.123456789))
    store.append(a_row(guard=4, last=math.inf))
    store.append(a_row(last=0.25))
    assert [(row.case["guard"], row.last) for row in store.read()] == [(1, 0.25), (4, None)], "the newest of a key"
    assert store.keys() == {case_key("overshoot", OvershootCase("root", guard)) for guard in (1, 4)}


def test_ran_away() -> None:
    row = a_row()
    assert not row.ran_away
    for worse in (
        replace(row, last=1.0),
        replace(row, last=None),
        replace(row, worst=2.01),
        replace(row, worst=None),
        replace(row, ended=DIVERGED),
    ):
        assert worse.ran_away


def test_cases_are_different_runs() -> None:
    keys = [case_key(name, case) for name, cases in CASES.items() for case in cases]
    assert len(set(keys)) == len(keys) == 9 + 56 + 80 + 96


def test_floor_of_the_rule_is_what_the_relu_runs_ask_for() -> None:
    """The optimizer of the form "floor" has λ as weight decay and as floor."""
    stepper = relu._stepper(ReluCase("vgg", "relu", "half-adam", "floor", 0), nn.Linear(2, 2))
    (group,) = stepper.optimizer.param_groups
    assert group["floor"] == group["weight_decay"] == plan.LARGE_DECAY
    assert CurvatureRescaling(floor=group["floor"]).floor == plan.LARGE_DECAY
