"""What changes a loss or its gradient without an operation of the forward: right, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import curvestep
from curvestep import MissingRuleError, RecordingError


@pytest.fixture
def w() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 3, dtype=torch.float64, requires_grad=True)


def cubes(w: Tensor) -> Tensor:
    """Σ w³, of second derivative 6 w."""
    return (w**3).sum()


def bent(tape: curvestep.Tape, w: Tensor) -> None:
    """The curvature of `cubes` along ones, at the point that w has now."""
    torch.testing.assert_close(tape.curvature([w], [torch.ones_like(w)]).total, 6 * w.detach().sum())


# -- hooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [lambda g: None, lambda g: g], ids=["looks", "returns it"])
def test_a_hook_that_leaves_the_gradient_alone_is_let_be(w: Tensor, hook: Any) -> None:
    with curvestep.record() as tape:
        h = w**3
        h.register_hook(hook)
        h.sum().backward()
    bent(tape, w)


def test_a_hook_that_writes_into_the_gradient_is_refused(w: Tensor) -> None:
    def halve(gradient: Tensor) -> None:
        gradient.mul_(0.5)

    with curvestep.record() as tape:
        h = w.sin()
        h.register_hook(halve)
        h.exp().sum().backward()
    with pytest.raises(RecordingError, match=r"the hook .*halve on a tensor of shape \(3, 3\) handed on another"):
        tape.curvature([w], [torch.ones_like(w)])


def test_a_hook_on_a_parameter_changes_its_gradient_alone(w: Tensor) -> None:
    w.register_hook(lambda g: 0.5 * g)
    with curvestep.record() as tape:
        cubes(w).backward()
    bent(tape, w)


class Cube(nn.Module):
    """x³."""

    def forward(self, x: Tensor) -> Tensor:
        return x**3


def hooked(w: Tensor, *, before: Any = None, after: Any = None) -> curvestep.Tape:
    """A tape of the cubes by a module with hooks on its gradients, whose argument is used twice."""
    module = Cube()
    if before is not None:
        module.register_full_backward_pre_hook(before)
    if after is not None:
        module.register_full_backward_hook(after)
    with curvestep.record() as tape:
        h = w * 1.0
        (module(h).sum() + h.sum()).backward()
    return tape


def test_module_hooks_that_look_are_let_be(w: Tensor) -> None:
    bent(hooked(w, before=lambda m, g: None, after=lambda m, g, o: None), w)


@pytest.mark.parametrize(
    "hooks",
    [{"before": lambda m, g: (2 * g[0],)}, {"after": lambda m, g, o: (2 * g[0],)}],
    ids=["before", "after"],
)
def test_module_hooks_that_change_the_gradient_are_refused(w: Tensor, hooks: dict[str, Any]) -> None:
    tape = hooked(w, **hooks)
    with pytest.raises(RecordingError, match="a full backward hook of a module, on a tensor of shape"):
        tape.curvature([w], [torch.ones_like(w)])


# -- leaves that change within the recording ------------------------------------------------------------------------


def test_a_parameter_written_between_two_uses_is_refused(w: Tensor) -> None:
    with curvestep.record() as tape:
        first = cubes(w * 1.0)
        w.data.mul_(2.0)
        (first + cubes(w * 1.0)).backward()
    with pytest.raises(RecordingError, match="written to between two uses of it"):
        tape.curvature([w], [torch.ones_like(w)])


def test_a_parameter_replaced_between_two_uses_is_refused(w: Tensor) -> None:
    with curvestep.record() as tape:
        first = cubes(w * 1.0)
        w.data = 2.0 * w.data
        (first + cubes(w * 1.0)).backward()
    with pytest.raises(RecordingError, match="written to between two uses of it"):
        tape.curvature([w], [torch.ones_like(w)])


def test_a_write_past_autograd_behind_the_last_use_is_refused(w: Tensor) -> None:
    with curvestep.record() as tape:
        h = torch.tanh(torch.eye(3, dtype=w.dtype) @ w) @ w
        w.data.mul_(2.0)
        h.sum().backward()
    with pytest.raises(RecordingError, match="overwritten in place since"):
        tape.curvature([w], [torch.ones_like(w)])


def test_a_write_to_an_activation_past_autograd_is_refused(w: Tensor) -> None:
    with curvestep.record() as tape:
        h = w * 1.0
        h.data.mul_(2.0)
        cubes(h).backward()
    with pytest.raises(RecordingError, match="carries a gradient and was written to through"):
        tape.curvature([w], [torch.ones_like(w)])


def test_a_parameter_frozen_for_one_use_is_a_constant_there(w: Tensor) -> None:
    with curvestep.record() as tape:
        first = cubes(w)
        w.requires_grad_(False)
        second = cubes(w)
        w.requires_grad_(True)
        (first + second).backward()
    bent(tape, w)


# -- the point --------------------------------------------------------------------------------------------------------

ASKED: dict[str, Callable[[curvestep.Tape, Tensor], object]] = {
    "curvature": lambda tape, w: tape.curvature([w], [torch.ones_like(w)]),
    "hvp": lambda tape, w: tape.hvp([w], [torch.ones_like(w)]),
    "loss_along": lambda tape, w: tape.loss_along([w], [torch.ones_like(w)], [0.0]),
    "gradient_along": lambda tape, w: tape.gradient_along([w], [torch.ones_like(w)], 0.0),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_no_answer_after_a_step(w: Tensor, ask: Callable[[curvestep.Tape, Tensor], object], fused: bool) -> None:
    with curvestep.record() as tape:
        cubes(w).backward()
    torch.optim.SGD([w], lr=1.0, fused=fused).step()
    with pytest.raises(RecordingError, match="overwritten in place since"):
        ask(tape, w)


def test_a_step_of_other_parameters_is_let_be(w: Tensor) -> None:
    other = torch.ones(2, requires_grad=True)
    other.grad = torch.ones(2)
    with curvestep.record() as tape:
        cubes(w).backward()
    torch.optim.SGD([other], lr=1.0, fused=True).step()
    bent(tape, w)


# -- gradients of some parameters -------------------------------------------------------------------------------------


def test_rows_are_not_called_exact_where_a_term_had_to_be_summed(w: Tensor) -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    v = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return (torch.tanh(x @ w) @ v).exp().mean()

    d = [torch.ones_like(w), torch.ones_like(v)]
    with curvestep.record() as tape:
        loss().backward()
    whole = tape.curvature([w, v], d)
    with curvestep.record() as tape:
        loss().backward(inputs=[v])
    part = tape.curvature([w, v], d)
    torch.testing.assert_close(part.total, whole.total)
    assert whole.per_sample is not None and part.per_sample is not None
    if part.per_sample_exact:
        torch.testing.assert_close(part.per_sample, whole.per_sample)


def test_an_embedding_scaled_by_frequency_is_refused(w: Tensor) -> None:
    with curvestep.record() as tape:
        nn.functional.embedding(torch.tensor([0, 0, 1]), w, scale_grad_by_freq=True).exp().sum().backward()
    with pytest.raises(MissingRuleError, match="scale_grad_by_freq=True"):
        tape.gradient_along([w], [torch.ones_like(w)], 0.0)
    torch.testing.assert_close(
        tape.loss_along([w], [torch.ones_like(w)], [0.0])[0], (2 * w[0].exp() + w[1].exp()).sum().detach()
    )
