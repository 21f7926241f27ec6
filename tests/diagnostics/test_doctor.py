"""What doctor reports, against what is known of small models."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import curvestep
from curvestep._records import Outcome
from curvestep.steprules import Windows
from tests.diagnostics.factories import Opaque, Point, cross_entropy, perceptron, uncovered


@pytest.mark.parametrize(("name", "expected"), [("RescaledSGD", 1.0), ("RescaledRMSprop", 3.0), ("RescaledAdam", 3.0)])
def test_suggested_steps_on_a_parabola(name: str, expected: float, float64: torch.dtype) -> None:
    """½ mean ‖θ − x‖² from g = (3, 3): along g the minimum is at 1, along sign(g) at 3; ℓ = 1 goes twice as far."""
    x = torch.tensor([[-2.0, -4.0], [-4.0, -2.0]])
    found = curvestep.doctor(
        Point(torch.zeros(2)), x, lambda m, x: (0.5 * (m.theta - x) ** 2).sum(1).mean(), measure=False
    )
    steps = {s.ell: s.step_size for s in found.suggestions if s.optimizer == name}
    # eps = 1e-8 beside a gradient of 3
    assert steps == pytest.approx({0.5: expected, 1.0: 2 * expected}, rel=1e-7)
    assert {s.outcome for s in found.suggestions} == {Outcome.TAKEN.value}


def test_suggestions_are_the_first_steps_of_the_optimizers() -> None:
    model, batch, loss_fn = perceptron()
    state = torch.get_rng_state()
    found = curvestep.doctor(model, batch, loss_fn, measure=False)
    for each in found.suggestions:
        torch.set_rng_state(state)  # the same dropout mask
        fresh, _, _ = perceptron()
        torch.set_rng_state(state)
        optimizer = getattr(curvestep, each.optimizer)(fresh.parameters(), lr=each.ell)
        with optimizer.record():
            loss_fn(fresh, batch).backward()
        optimizer.step()
        assert optimizer.last_step.step_size == each.step_size


def test_operations_with_their_counts_and_marks() -> None:
    found = curvestep.doctor(*perceptron(), measure=False)
    counts = {op.name: op.count for op in found.operations}
    assert counts["aten.addmm.default"] == 2 and counts["aten.relu.default"] == 1
    assert [op.name for op in found.operations if op.couples] == ["aten.native_batch_norm.default"]
    assert [op.name for op in found.operations if op.kinks] == ["aten.relu.default"]
    assert found.covered and found.refusal is None


def test_batch_norm_does_not_couple_in_evaluation() -> None:
    model, batch, loss_fn = perceptron()
    found = curvestep.doctor(model.eval(), batch, loss_fn, measure=False)
    assert not any(op.couples for op in found.operations)
    assert any("evaluation mode" in note for note in found.notes)


def test_a_decomposition_is_called_one() -> None:
    found = curvestep.doctor(
        Point(torch.rand(4, 3)), None, lambda m, _: torch.dist(m.theta, torch.zeros(4, 3)), measure=False
    )
    coverage = {op.name: op.coverage.value for op in found.operations}
    assert coverage["aten.dist.default"] == "decomposition"


def test_where_the_batch_was_found() -> None:
    samples = curvestep.doctor(*perceptron(), measure=False).samples
    assert samples.batch_size == 8 and samples.exact
    assert samples.found == "axis 0 of example_batch[0], shape (8, 6), where it meets 0.bias in aten.addmm"


def test_a_batch_in_a_dictionary_of_lists() -> None:
    model, (x, y), _ = perceptron()
    found = curvestep.doctor(
        model, {"in": [x], "out": y}, lambda m, b: F.cross_entropy(m(b["in"][0]), b["out"]), measure=False
    )
    assert found.samples.found is not None and "example_batch['in'][0]" in found.samples.found


def test_no_batch_is_a_note() -> None:
    found = curvestep.doctor(Point(torch.ones(3)), None, lambda m, _: (m.theta**4).sum(), measure=False)
    assert found.covered and found.samples.batch_size is None
    assert any("record(batch_size=" in note for note in found.notes)


def test_frozen_and_unreached_parameters_by_name() -> None:
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "spare": nn.Linear(2, 2)})
    model["used"].bias.requires_grad_(False)
    found = curvestep.doctor(model, torch.randn(4, 3), lambda m, x: m["used"](x).square().mean(), measure=False)
    assert found.parameters.frozen == ("used.bias",)
    assert found.parameters.unreached == ("spare.weight", "spare.bias")
    assert (found.parameters.tensors, found.parameters.elements) == (1, 6)


def test_products_of_a_perceptron() -> None:
    """Layers 6→5→3 on 8 samples: forward 8·30 + 8·15; the first layer's input does not move and needs no gradient."""
    products = curvestep.doctor(*perceptron(), measure=False).products
    assert products is not None
    assert (products.forward, products.gradient, products.tangent) == (2, 3, 4)
    assert products.forward_multiply_adds == 8 * (30 + 15)
    assert products.gradient_multiply_adds == 8 * (30 + 2 * 15)
    assert products.tangent_multiply_adds == 8 * (30 + 3 * 15)
    assert products.ratio == pytest.approx((45 + 60 + 75) / (45 + 60))


def test_products_of_a_carried_term_below_batch_norm() -> None:
    """tanh below a coupled layer: its second-order term is carried through the product in between, one more."""
    layers = nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
    _, batch, _ = perceptron()
    found = curvestep.doctor(nn.Sequential(*layers), batch, cross_entropy, measure=False)
    assert found.products is not None and found.samples.form == "tangent+taylor"
    assert found.products.tangent == 1 + (3 + 1) + 3


def test_products_inside_a_kernel_are_not_passed_off_as_counted() -> None:
    found = curvestep.doctor(nn.LSTM(3, 4), torch.randn(5, 2, 3), lambda m, x: m(x)[0].square().mean(), measure=False)
    by_parts = {op.name for op in found.operations if op.coverage.value == "decomposition"}
    assert found.products is not None and set(found.products.uncounted) == by_parts
    assert (found.products.ratio is None) == bool(by_parts)


def test_products_of_a_convolution() -> None:
    conv = nn.Conv2d(2, 4, 3, bias=False)
    found = curvestep.doctor(conv, torch.randn(3, 2, 6, 5), lambda m, x: m(x).square().mean(), measure=False)
    assert found.products is not None
    assert found.products.forward_multiply_adds == (3 * 4 * 4 * 3) * (2 * 3 * 3)


def test_the_count_is_what_the_pass_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are counted on the tape; the pass itself, seen by a dispatch mode, does as many."""

    aten = torch.ops.aten

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func in (aten.mm.default, aten.addmm.default, aten.addmm_.default)
            return func(*args, **(kwargs or {}))

    model, batch, loss_fn = perceptron()
    expected = curvestep.doctor(model, batch, loss_fn, measure=False).products
    with curvestep.record() as tape:
        loss_fn(model, batch).backward()
    parameters = list(model.parameters())
    gradients = [p.grad for p in parameters]

    counter = Counter()
    monkeypatch.setattr(
        "curvestep.engine.passes.sweep._disable_current_modes", nullcontext
    )  # let the counter see the pass
    with counter:
        tape.curvature(parameters, gradients)  # pyright: ignore[reportArgumentType]
    assert expected is not None and counter.count == expected.tangent


def test_a_missing_operation_has_a_path_with_a_name() -> None:
    found = curvestep.doctor(*uncovered())
    assert not found.covered
    assert [op.name for op in found.missing] == ["Opaque"]
    path = found.missing[0].path
    assert path is not None and path.startswith("4.") and path.endswith("→ Opaque")
    assert found.suggestions == () and found.measurement is None and found.products is None


def test_a_missing_aten_operation_has_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from curvestep.engine.recording.facts import forget_facts
    from curvestep.engine.rules.table import RULES

    monkeypatch.delitem(RULES, torch.ops.aten.tanh.default)
    forget_facts()
    try:
        found = curvestep.doctor(
            nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.randn(4, 3), lambda m, x: m(x).mean(), measure=False
        )
    finally:
        monkeypatch.undo()
        forget_facts()
    assert [op.path for op in found.missing] == ["0.bias → aten.addmm.default → aten.tanh.default"]
    assert "LQA and GeN do without" in " ".join(str(found).split())


def test_measured_time_and_memory() -> None:
    measured = curvestep.doctor(*perceptron()).measurement
    assert measured is not None
    assert measured.plain_seconds > 0 and measured.measured_seconds > 0
    assert measured.plain_bytes is not None and measured.measured_bytes is not None
    assert measured.measured_bytes > measured.plain_bytes  # cotangents and tangents are held besides
    assert measured.auto_bytes is not None and measured.auto_bytes > measured.plain_bytes  # states and an average
    assert measured.auto_refusal is None and measured.auto_seconds is not None
    share = (measured.auto_seconds - measured.plain_seconds) / measured.auto_every
    options = curvestep.Auto([torch.zeros(1, requires_grad=True)]).param_groups[0]
    ends = Windows(options["window_growth"], options["window_offset"]).ends_within(1000)
    assert measured.auto_every == round(1000 / ends)
    assert measured.auto_ratio == pytest.approx(1 + share / measured.plain_seconds)


def test_what_is_timed_of_auto_is_a_window_s_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first window: one repetition, five that are timed, and one for the memory."""
    outcomes: list[Outcome] = []

    step = curvestep.Auto.step

    def seen(self: Any, closure: Any = None) -> Any:
        returned = step(self, closure)
        outcomes.append(self.last_step.outcome)
        return returned

    monkeypatch.setattr(curvestep.Auto, "step", seen)
    curvestep.doctor(*perceptron())
    first = outcomes.index(Outcome.WINDOW_ENDED) + 1
    assert set(outcomes[: first - 1]) == {Outcome.WINDOW_SCALE} and outcomes[first:] == [Outcome.WINDOW_ENDED] * 7


def test_a_loss_that_cannot_be_computed_again_is_no_hindrance_to_auto() -> None:
    """Spectral normalisation writes what it reads; at a window's end the measured parabola stands in."""
    model, batch, loss_fn = perceptron()
    layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
    nn.utils.parametrizations.spectral_norm(layer)
    measured = curvestep.doctor(model, batch, loss_fn).measurement
    assert measured is not None and measured.auto_refusal is None and measured.auto_seconds is not None


def test_a_loss_that_auto_refuses_later_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise curvestep.RecordingError("A window of steps has ended, and this is refused.")

    monkeypatch.setattr("curvestep.optim._windowed.measure", refused)
    found = curvestep.doctor(*perceptron())
    measured = found.measurement
    assert found.covered and measured is not None and measured.auto_seconds is measured.auto_ratio is None
    text = " ".join(str(found).split())
    assert "Auto cannot train this: A window of steps has ended" in text and "Auto begins" not in text
    assert "Peak memory: RescaledSGD" in text
    assert json.loads(json.dumps(found.to_json()))["measurement"]["auto_ratio"] is None


def test_progress_is_told_before_each_part() -> None:
    told: list[str] = []
    curvestep.doctor(*perceptron(), progress=told.append)
    assert told[0] == "a step, recorded" and "first step of RescaledAdam at ℓ = 1" in told
    assert "time of a step, 6 of 6" in told and told[-1] == "memory of a step"


def test_peak_memory_of_a_known_step() -> None:
    """A 1 MiB parameter: itself, its copy p·p, and gradients of that size are alive at once in a plain step."""
    p = torch.ones(1 << 18)
    measured = curvestep.doctor(Point(p), None, lambda m, _: (m.theta * m.theta).sum()).measurement
    assert measured is not None and measured.plain_bytes is not None
    assert 2 * p.nbytes <= measured.plain_bytes <= 5 * p.nbytes


def test_the_page_fits_eighty_columns_and_json_has_everything() -> None:
    for made in (perceptron(), uncovered()):
        found = curvestep.doctor(*made)
        assert max(len(line) for line in str(found).splitlines()) <= 80
        data = json.loads(json.dumps(found.to_json()))
        assert data["covered"] is found.covered
        assert [op["name"] for op in data["operations"]] == [op.name for op in found.operations]
    assert "Opaque" in str(found)


def test_an_lstm_is_left_whole() -> None:
    """Its modules hold their weights a second time, in a list."""
    model = nn.LSTM(3, 4)
    held = [id(w) for w in model._flat_weights]
    curvestep.doctor(model, torch.randn(5, 2, 3), lambda m, x: m(x)[0].square().mean(), measure=False)
    assert [id(w) for w in model._flat_weights] == held


def test_a_function_that_is_not_on_the_way_does_not_matter() -> None:
    def loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        Opaque.apply(model(x))
        return model(x).square().mean()

    assert curvestep.doctor(nn.Linear(3, 2), torch.randn(4, 3), loss, measure=False).covered
