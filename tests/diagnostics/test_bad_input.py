"""Input that cannot be measured: each works, or is refused in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import curvestep
from tests.diagnostics.factories import Opaque, Point, perceptron


def ones(parameters: list[Tensor]) -> list[Tensor]:
    return [torch.ones_like(p) for p in parameters]


def curvature(compute: Callable[[], Tensor], parameters: list[Tensor]) -> float:
    with curvestep.record() as tape:
        compute().backward()
    return tape.curvature(parameters, ones(parameters)).total.item()


def small() -> tuple[Any, list[Tensor], Tensor, Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    return model, list(model.parameters()), torch.randn(6, 4), torch.randint(3, (6,))


# -- activation checkpointing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_checkpointing_without_reentry_is_exact(dropout: float, float64: torch.dtype) -> None:
    """Nothing but the order of sums could differ, and that is the same too."""
    model, parameters, x, y = small()

    def body(x: Tensor) -> Tensor:
        return F.dropout(model(x), dropout)

    torch.manual_seed(0)
    plain = curvature(lambda: F.cross_entropy(body(x), y), parameters)
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    torch.manual_seed(0)
    compute = lambda: F.cross_entropy(checkpoint(body, x, use_reentrant=False), y)  # noqa: E731  # pyright: ignore
    assert curvature(compute, parameters) == plain
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters, gradients, strict=True))  # pyright: ignore


def test_reentrant_checkpointing_is_followed() -> None:
    model, parameters, x, y = small()
    x.requires_grad_()
    plain = curvature(lambda: F.cross_entropy(model(x), y), parameters)
    compute = lambda: F.cross_entropy(checkpoint(model, x, use_reentrant=True), y)  # noqa: E731  # pyright: ignore
    assert curvature(compute, parameters) == pytest.approx(plain, rel=1e-5)  # float32, terms added in another order
    assert curvestep.doctor(model, x, lambda m, x: checkpoint(m, x, use_reentrant=True).mean()).covered  # pyright: ignore


class Doubled(torch.autograd.Function):
    """2x with half of its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad


def test_doctor_says_that_a_backward_is_another_functions() -> None:
    model, _, x, _ = small()
    found = curvestep.doctor(model, x, lambda m, x: Doubled.apply(m(x)).square().mean())  # pyright: ignore
    assert "in the forward of Doubled" in " ".join(str(found).split())


# -- torch.compile ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_a_compiled_model_runs_uncompiled(fullgraph: bool, warm: bool) -> None:
    model, parameters, x, y = small()
    expected = curvature(lambda: F.cross_entropy(model(x), y), parameters)
    compiled = torch.compile(model, backend="eager", fullgraph=fullgraph)
    if warm:
        compiled(x)
    assert curvature(lambda: F.cross_entropy(compiled(x), y), parameters) == expected
    assert compiled(x).shape == (6, 3)  # and afterwards compiled again


def test_doctor_examines_the_module_inside_a_compiled_one() -> None:
    model, _, x, y = small()
    compiled: Any = torch.compile(model, backend="eager")
    found = curvestep.doctor(compiled, (x, y), lambda m, b: F.cross_entropy(m(b[0]), b[1]), measure=False)
    assert found.covered and found.samples.batch_size == 6
    assert any("torch.compile" in note and "original module" in note for note in found.notes)


# -- what a recording cannot see into ----------------------------------------------------------------------------------


class Straight(torch.autograd.Function):
    """Rounding whose backward is the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad


@pytest.mark.parametrize("function", [Opaque, Straight])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a term that is covered"])
def test_an_autograd_function_is_refused_by_name(function: Any, beside: bool) -> None:
    w = torch.randn(3, requires_grad=True)
    with pytest.raises(curvestep.MissingRuleError, match=rf"{function.__name__}.*torch.autograd.Function"):
        curvature(lambda: function.apply(w).square().sum() + (w.square().sum() if beside else 0.0), [w])


def test_an_autograd_function_off_the_way_is_not() -> None:
    w = torch.randn(3, requires_grad=True)

    def compute() -> Tensor:
        Opaque.apply(w)
        return w.square().sum()

    assert curvature(compute, [w]) == 6.0


def test_a_write_under_no_grad_is_refused() -> None:
    w = torch.randn(3, requires_grad=True)

    def compute() -> Tensor:
        h = w * 2
        with torch.no_grad():
            h.mul_(3.0)
        return h.square().sum()

    with pytest.raises(curvestep.MissingRuleError, match=r"mul_.*no_grad"):
        curvature(compute, [w])


def test_no_hook_stays_on_a_weight_that_is_written_under_no_grad() -> None:
    w = torch.randn(1, requires_grad=True)

    def compute() -> Tensor:
        with torch.no_grad():
            w.clamp_(-1.0, 1.0)
        return w.square().sum()

    assert curvature(compute, [w]) == 2.0
    assert not w._backward_hooks


# -- backward ---------------------------------------------------------------------------------------------------------


def test_backward_on_a_tensor_is_refused() -> None:
    w = torch.randn(3, requires_grad=True)
    with curvestep.record() as tape:
        w.square().backward(torch.ones(3))
    with pytest.raises(curvestep.RecordingError, match=r"on a scalar.*shape \(3,\).*mean or sum"):
        tape.curvature([w], ones([w]))


def test_backward_on_two_scalars_is_refused() -> None:
    w = torch.randn(3, requires_grad=True)
    with curvestep.record() as tape:
        torch.autograd.backward([(w**2).sum(), (w**3).sum()])
    with pytest.raises(curvestep.RecordingError, match="several tensors.*sum"):
        tape.curvature([w], ones([w]))


def test_two_backwards_are_refused() -> None:
    w = torch.randn(3, requires_grad=True)
    with curvestep.record() as tape:
        loss = (w**2).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    with pytest.raises(curvestep.RecordingError, match="2 ran.*Add the losses"):
        tape.curvature([w], ones([w]))


def test_create_graph_is_refused() -> None:
    w = torch.randn(3, requires_grad=True)
    with curvestep.record() as tape:
        torch.autograd.grad((w**2).sum(), w, create_graph=True)
    with pytest.raises(curvestep.RecordingError, match="create_graph=True"):
        tape.curvature([w], ones([w]))


def test_nested_recordings_are_refused() -> None:
    with curvestep.record(), pytest.raises(curvestep.RecordingError, match="Leave the outer"), curvestep.record():
        pass


def test_a_recording_after_a_refused_one_works() -> None:
    test_nested_recordings_are_refused()
    w = torch.ones(1, requires_grad=True)
    assert curvature(lambda: (w**2).sum(), [w]) == 2.0


# -- tensors ----------------------------------------------------------------------------------------------------------


def test_an_input_that_was_overwritten_is_refused() -> None:
    w, x = torch.randn(3, requires_grad=True), torch.randn(3)
    with curvestep.record() as tape:
        (w * x).square().sum().backward()
    x.zero_()
    with pytest.raises(curvestep.RecordingError, match=r"overwritten in place.*Write to a copy"):
        tape.curvature([w], ones([w]))


def test_a_weight_that_was_stepped_is_refused() -> None:
    w = torch.randn(3, requires_grad=True)
    with curvestep.record() as tape:
        (w**3).sum().backward()
    torch.optim.SGD([w], lr=0.1).step()
    with pytest.raises(curvestep.RecordingError, match="overwritten in place"):
        tape.curvature([w], ones([w]))


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        pytest.param([torch.ones(2)], r"shape \(3,\).*shape \(2,\)", id="shape"),
        pytest.param([torch.ones(3, dtype=torch.float64)], "float32.*float64", id="dtype"),
        pytest.param([torch.ones(3, device="meta")], "on cpu.*on meta", id="device"),
        pytest.param([], "1 parameters and 0", id="number"),
    ],
)
@pytest.mark.parametrize("name", ["curvature", "hvp", "loss_along"])
def test_a_direction_that_does_not_match_is_refused(name: str, direction: list[Tensor], message: str) -> None:
    w = torch.randn(3, requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    with pytest.raises(curvestep.DirectionError, match=message):
        getattr(tape, name)([w], direction, *([[0.0]] if name == "loss_along" else []))


def test_complex_parameters_are_examined() -> None:
    model = Point(torch.tensor([3 + 4j, 1j]))
    found = curvestep.doctor(model, None, lambda m, _: 0.5 * m.theta.abs().square().sum())
    assert found.covered and found.suggestions[0].step_size == pytest.approx(1.0)  # J = ½ ‖θ‖²


def test_sparse_gradients_are_refused_by_the_optimizer_and_by_name() -> None:
    table = nn.Embedding(7, 2, sparse=True)
    index = torch.tensor([1, 2, 2])
    optimizer = curvestep.RescaledSGD(table.parameters())
    with optimizer.record():
        table(index).square().mean().backward()
    with pytest.raises(curvestep.CurvestepError, match="sparse=False"):
        optimizer.step()
    with pytest.raises(curvestep.CurvestepError, match="that of weight.*sparse=False"):
        curvestep.doctor(table, index, lambda m, i: m(i).square().mean())


def test_the_engine_alone_takes_sparse_gradients() -> None:
    """The gradient's layout is the optimizer's matter: the mean of 6 squares bends by 2 along ones."""
    table = nn.Embedding(7, 2, sparse=True)
    index = torch.tensor([1, 2, 2])
    assert curvature(lambda: table(index).square().mean(), list(table.parameters())) == pytest.approx(2.0)


# -- doctor -----------------------------------------------------------------------------------------------------------

REFUSED: list[Any] = [
    pytest.param(lambda m: object(), lambda m, b: b, "torch.nn.Module.*type object", id="no module"),
    pytest.param(nn.DataParallel, lambda m, b: m(b).mean(), "DataParallel.*model.module", id="DataParallel"),
    pytest.param(lambda m: m.requires_grad_(False), lambda m, b: m(b).mean(), "requires_grad_", id="all frozen"),
    pytest.param(lambda m: m, lambda m, b: m(b), r"one number.*shape \(8, 3\).*mean", id="no scalar"),
    pytest.param(lambda m: m, lambda m, b: m(b).mean().item(), "tensor.*type float", id="a float"),
    pytest.param(lambda m: m, lambda m, b: m(b).mean().detach(), "no gradient path", id="detached"),
    pytest.param(lambda m: m, lambda m, b: m(b).mean() / 0, "finite", id="infinite"),
    pytest.param(lambda m: m, F.cross_entropy, r"loss_fn\(model, example_batch\).*lambda model, batch", id="criterion"),
    pytest.param(lambda m: m, lambda m, b: _backward(m(b).mean()), "ran backward.*Leave", id="backward"),
]


def _backward(loss: Tensor) -> Tensor:
    loss.backward(retain_graph=True)
    return loss


@pytest.mark.parametrize(("change", "loss_fn", "message"), REFUSED)
def test_doctor_refuses_in_a_sentence(change: Any, loss_fn: Any, message: str) -> None:
    model, (x, _), _ = perceptron()
    with pytest.raises(curvestep.CurvestepError, match=message) as refusal:
        curvestep.doctor(change(model), x, loss_fn)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith((".", "…"))


def test_a_setting_that_a_rule_refuses_is_not_covered() -> None:
    """The operation has a rule, but not for dropout inside the kernel; only running the pass shows it."""
    from curvestep._errors import MissingRuleError
    from curvestep.engine.data.rule import Kind, Rule
    from curvestep.engine.recording.facts import forget_facts
    from curvestep.engine.rules.axes import elementwise_axis
    from curvestep.engine.rules.table import RULES

    def refuse(site: Any) -> Any:
        raise MissingRuleError("This setting of tanh has no rule; use another.")

    op = torch.ops.aten.tanh.default
    kept = RULES[op]
    RULES[op] = Rule(Kind.NONLINEAR, refuse, elementwise_axis)
    forget_facts()
    try:
        model, _, x, _ = small()
        found = curvestep.doctor(model, x, lambda m, x: m(x).mean())
    finally:
        RULES[op] = kept
        forget_facts()
    assert not found.covered and not found.missing
    assert found.refusal == "This setting of tanh has no rule; use another."
    assert "use another" in str(found)
