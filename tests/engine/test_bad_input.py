"""Each refusal is a sentence that says what was needed, what was given and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import curvestep
from curvestep import DirectionError, MissingRuleError, RecordingError


@pytest.fixture
def w() -> Tensor:
    return torch.tensor([1.0, 2.0], requires_grad=True)


def recorded(w: Tensor, loss: Callable[[Tensor], Tensor] = lambda w: (w**3).sum()) -> curvestep.Tape:
    with curvestep.record() as tape:
        loss(w).backward()
    return tape


ONES = torch.ones(2)


def test_nothing_recorded(w: Tensor) -> None:
    with curvestep.record() as tape:
        pass
    with pytest.raises(RecordingError, match=r"One backward pass inside the recording was needed, but none ran"):
        tape.curvature([w], [ONES])


def test_backward_not_run(w: Tensor) -> None:
    with curvestep.record() as tape:
        loss = (w**3).sum()
    with pytest.raises(RecordingError, match=r"none ran .* Call loss\.backward\(\) inside"):
        tape.curvature([w], [ONES])
    assert loss.requires_grad


def test_backward_run_twice(w: Tensor) -> None:
    with curvestep.record() as tape:
        loss = (w**3).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    with pytest.raises(RecordingError, match=r"but 2 ran\. Add the losses and call backward\(\) once"):
        tape.curvature([w], [ONES])


def test_two_losses(w: Tensor) -> None:
    with curvestep.record() as tape:
        (w**3).sum().backward()
        (w**2).sum().backward()
    with pytest.raises(RecordingError, match=r"but 2 ran"):
        tape.curvature([w], [ONES])


def test_released(w: Tensor) -> None:
    tape = recorded(w)
    tape.release()
    tape.release()
    for ask in (tape.curvature, tape.hvp):
        with pytest.raises(
            RecordingError, match=r"this one was released\. Run the forward and loss\.backward\(\) again"
        ):
            ask([w], [ONES])
    with pytest.raises(RecordingError, match="released"):
        _ = tape.loss


def test_nested_recordings(w: Tensor) -> None:
    with curvestep.record() as tape:
        with pytest.raises(RecordingError, match=r"another one is still open\. Leave the outer"), curvestep.record():
            pass
        (w**3).sum().backward()
    assert tape.curvature([w], [ONES]).total.item() == 18.0


def test_the_forward_began_outside(w: Tensor) -> None:
    hidden = w**2
    with curvestep.record() as tape:
        (hidden * hidden).sum().backward()
    with pytest.raises(RecordingError, match=r"came in from outside, at a tensor of shape \(2,\)\. Move the forward"):
        tape.curvature([w], [ONES])


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        ([], r"1 parameters and 0 direction tensors were given\. Pass two lists of equal length"),
        ([ONES, ONES], r"1 parameters and 2 direction tensors"),
        ([torch.ones(3)], r"shape \(2,\), torch\.float32 on cpu was needed for parameter 0, but shape \(3,\)"),
        ([torch.ones(1)], r"but shape \(1,\)"),
        ([ONES.double()], r"torch\.float64 on cpu was given\. Match the parameter"),
        ([ONES.to("meta")], r"on meta was given"),
    ],
)
def test_a_direction_that_does_not_fit(w: Tensor, directions: list[Tensor], message: str) -> None:
    tape = recorded(w)
    for ask in (tape.curvature, tape.hvp):
        with pytest.raises(DirectionError, match=message):
            ask([w], directions)


def test_a_direction_error_is_a_value_error_too(w: Tensor) -> None:
    with pytest.raises(ValueError):
        recorded(w).curvature([w], [])


def test_a_frozen_parameter(w: Tensor) -> None:
    still = torch.ones(2)
    tape = recorded(w, lambda w: (w * still).pow(3).sum())
    with pytest.raises(DirectionError, match=r"parameter 1 of shape \(2,\) is frozen\. Leave frozen parameters out"):
        tape.curvature([w, still], [ONES, ONES])


def test_an_unknown_form(w: Tensor) -> None:
    with pytest.raises(ValueError, match=r"form must be one of auto, tangent, taylor, but form='fast' was given"):
        recorded(w).curvature([w], [ONES], form="fast")  # type: ignore[arg-type]


def test_an_input_that_was_overwritten_after_backward(w: Tensor) -> None:
    x = torch.tensor([3.0, 4.0])
    tape = recorded(w, lambda w: (w * x).pow(3).sum())
    x.mul_(2)
    with pytest.raises(RecordingError, match=r"aten\.mul\.Tensor .* overwritten in place since\. Write to a copy"):
        tape.curvature([w], [ONES])


def test_a_parameter_that_was_stepped_before_the_question() -> None:
    net = nn.Linear(2, 2)
    with curvestep.record() as tape:
        torch.tanh(net(torch.ones(3, 2)) @ net.weight).sum().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    with pytest.raises(RecordingError, match=r"overwritten in place since"):
        tape.curvature(list(net.parameters()), [torch.ones_like(p) for p in net.parameters()])


# -- operations without a rule ---------------------------------------------------------------------------------------


@torch.library.custom_op("curvestep_tests::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x**3


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


cube.register_autograd(lambda ctx, grad: 3 * ctx.saved_tensors[0] ** 2 * grad, setup_context=_keep)


def test_an_operation_without_a_rule_is_named_with_its_path(w: Tensor) -> None:
    tape = recorded(w, lambda w: cube(torch.tanh(w * 2)).sum())
    with pytest.raises(MissingRuleError) as caught:
        tape.curvature([w], [ONES])
    message = str(caught.value)
    assert "curvestep_tests.cube" in message
    assert "parameter of shape (2,) → aten.mul.Tensor → aten.tanh.default → curvestep_tests.cube" in message
    assert "Register a rule" in message


def test_an_operation_without_a_rule_off_the_path_does_not_matter(w: Tensor) -> None:
    data = torch.tensor([0.5, 0.25])
    tape = recorded(w, lambda w: (cube(data) * w**2).sum())
    assert tape.curvature([w], [ONES]).total.item() == pytest.approx(2 * (0.125 + 0.015625))


def test_an_operation_without_a_rule_that_the_loss_does_not_read(w: Tensor) -> None:
    def loss(w: Tensor) -> Tensor:
        cube(w)
        return (w**3).sum()

    assert recorded(w, loss).curvature([w], [ONES]).total.item() == 18.0


def test_attention_with_dropout_inside_its_kernel_is_refused_or_exact() -> None:
    """On a CPU torch runs dropout in attention as separate operations, whose mask is on the tape."""
    q = torch.randn(2, 1, 3, 4, requires_grad=True)
    with curvestep.record() as tape:
        torch.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5).square().sum().backward()
    found = tape.curvature([q], [torch.ones_like(q)]).total
    h = 1e-2  # float32 replay with the recorded mask: truncation h² ≈ 1e-4, rounding 1e-7·J/h² ≈ 1e-2 of order one
    ahead, here, behind = tape.loss_along([q], [torch.ones_like(q)], [h, 0.0, -h]).double()
    assert float(found) == pytest.approx(float((ahead - 2 * here + behind) / h**2), rel=0.05, abs=0.5)
