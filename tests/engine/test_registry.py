"""Rules of users: an operation of torch.library, taught by a formula."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import curvestep
from curvestep.engine import register_rule
from curvestep.engine.recording.facts import forget_facts
from curvestep.engine.rules.table import RULES
from curvestep.testing import check_rule
from tests.engine.parts import check_part


@torch.library.custom_op("curvesteptests::swish", mutates_args=())
def swish(x: Tensor, rate: Tensor) -> Tensor:
    return x * torch.sigmoid(rate * x)


def save(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
    x, rate = ctx.saved_tensors
    p = torch.sigmoid(rate * x)
    return g * (p + rate * x * p * (1 - p)), (g * x * x * p * (1 - p)).sum(0)


swish.register_autograd(backward, setup_context=save)
OP = torch.ops.curvesteptests.swish


def formula(x: Tensor, rate: Tensor) -> Tensor:
    return x / (1 + torch.exp(-rate * x))


@pytest.fixture
def registered() -> Any:
    def enter(samples: Any, **facts: Any) -> None:
        register_rule(OP, formula, samples=samples, **facts)

    yield enter
    RULES.pop(OP.default, None)
    forget_facts()


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, generator=generator), torch.rand(4, generator=generator) + 0.5]


def test_it_is_refused_before() -> None:
    with pytest.raises(curvestep.MissingRuleError, match=r"curvesteptests\.swish"):
        check_rule(OP, inputs())


@pytest.mark.parametrize("samples", ["elementwise", "first"])
def test_the_formula_serves_total_and_split(registered: Any, samples: str) -> None:
    registered(samples)
    report = check_rule(OP, inputs(), explicit=formula, exact=True if samples == "elementwise" else None)
    assert report.ops == ("curvesteptests.swish.default",)


def test_without_samples_the_total_is_exact_and_the_split_is_not_called_so(registered: Any) -> None:
    registered("none")
    report = check_rule(OP, inputs(), explicit=formula, exact=None)
    assert not any(report.exact.values())


def test_two_rules_for_one_operation_are_refused(registered: Any) -> None:
    registered("none")
    with pytest.raises(ValueError, match="one operation has one rule"):
        registered("none")


def test_what_is_no_operation_is_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.library\.custom_op"):
        register_rule(torch.sin, torch.sin)


def test_a_wrong_word_for_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="samples='rows'"):
        register_rule(OP, formula, samples="rows")  # type: ignore[arg-type]


# -- what is registered reaches every pass -------------------------------------------------------------------------


class Net(nn.Module):
    """mean_s Σ_j swish(x_s W, r)_j² with parameters W and r, by the operation or by its formula."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, -1.0], [0.3, 0.8], [-0.7, 0.2]], dtype=torch.float64))
        self.rate = nn.Parameter(torch.tensor([1.5, 0.7], dtype=torch.float64))

    def forward(self, x: Tensor, swish: Any = OP) -> Tensor:
        return (swish(x @ self.weight, self.rate) ** 2).sum(1).mean()


X = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0], [2.0, 0.1, 0.3], [-1.5, 1.0, 0.4]], dtype=torch.float64)


def asked(net: Net, **options: Any) -> tuple[curvestep.Tape, list[Tensor], list[Tensor]]:
    params: list[Tensor] = list(net.parameters())
    with curvestep.record(**options) as tape:
        net(X).backward()
    assert "curvesteptests.swish.default" in {node.name for node in tape.nodes}
    return tape, params, [torch.ones_like(p) for p in params]


def gradient_of_the_formula(net: Net, t: float = 0.0, twice: bool = False) -> list[Tensor]:
    """∇J at θ + t·1, or ∇²J·1 there, by autograd on the formula alone."""
    params = [(p.detach() + t).requires_grad_() for p in net.parameters()]
    j = (formula(X @ params[0], params[1]) ** 2).sum(1).mean()
    grads = torch.autograd.grad(j, params, create_graph=True)
    if not twice:
        return [g.detach() for g in grads]
    return list(torch.autograd.grad(torch.stack([g.sum() for g in grads]).sum(), params))


def test_a_registered_operation_is_measured_on_a_part_of_the_batch(registered: Any) -> None:
    registered("elementwise")
    tape, params, d = asked(Net())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        half = tape.curvature(params, d, samples=0.5)
    check_part(half, tape.curvature(params, d), 2)


@pytest.mark.parametrize(("precision", "bound"), [("float64", 1e-12), ("float32", 1e-12), ("bfloat16", 2e-2)])
def test_a_registered_operation_is_measured_in_every_precision(registered: Any, precision: Any, bound: float) -> None:
    """float32 leaves float64 as it is; bfloat16 has eight bits, 4e-3, and two products of three terms each."""
    registered("elementwise")
    tape, params, d = asked(Net())
    found = tape.curvature(params, d, precision=precision)
    truth = sum((h * v).sum() for h, v in zip(gradient_of_the_formula(Net(), twice=True), d, strict=True))
    assert found.total.item() == pytest.approx(float(truth), rel=bound)


@pytest.mark.parametrize("memory", ["keep", "split"])
def test_a_registered_operation_is_replayed(registered: Any, memory: str) -> None:
    registered("elementwise")
    net = Net()
    tape, params, d = asked(net, memory=memory)
    moved = Net()
    with torch.no_grad():
        for p in moved.parameters():
            p += 0.25
        expected = [net(X, formula).item(), moved(X, formula).item()]
    # the same formula in another order of roundings
    assert tape.loss_along(params, d, [0.0, 0.25]).tolist() == pytest.approx(expected, rel=1e-12)
    for found, truth in (
        (tape.gradient_along(params, d, 0.25), gradient_of_the_formula(net, 0.25)),
        (tape.hvp(params, d), gradient_of_the_formula(net, twice=True)),
    ):
        for a, b in zip(found, truth, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    truth = sum(float(h.sum()) for h in gradient_of_the_formula(net, twice=True))
    assert tape.curvature(params, d).total.item() == pytest.approx(truth, rel=1e-12)


def test_doctor_reports_a_registered_operation_and_its_kinks(registered: Any) -> None:
    registered("elementwise", kinks=True)
    found = curvestep.doctor(Net(), X, lambda net, x: net(x), measure=False)
    assert found.covered and found.samples.exact
    (op,) = [op for op in found.operations if op.name == "curvesteptests.swish.default"]
    assert op.coverage.value == "decomposition" and op.kinks and op.path is None
