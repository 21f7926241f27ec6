"""Recording disturbs nothing: gradients, buffers, random numbers, hooks, modes and memory are as without it."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.engine import nets


class Mixed(nn.Module):
    """Batch norm, dropout from the global stream, in-place activation: everything that keeps state."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(F.silu(self.norm(self.first(x)), inplace=True), 0.3, self.training))


@contextmanager
def nothing() -> Iterator[None]:
    yield


def step(recorded: bool, build: Callable[[], nn.Module], x: Tensor, y: Tensor) -> tuple[nn.Module, Tensor, Any]:
    torch.manual_seed(1)
    net = build()
    with curvestep.record() if recorded else nothing() as tape:
        loss = F.cross_entropy(net(x), y)
        loss.backward()
    if tape is not None:
        params = list(net.parameters())
        tape.curvature(params, [p.grad for p in params if p.grad is not None])
        tape.hvp(params, [p.grad for p in params if p.grad is not None])
        tape.loss_along(params, [p.grad for p in params if p.grad is not None], [0.1])
    return net, loss.detach(), torch.get_rng_state()


BUILDS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (Mixed, (5, 4)), (nets.ResNet, (3, 2, 6, 6)), (nets.InPlace, (3, 4)), (nets.WriteIntoViews, (3, 4)),
    (nets.Patches, (3, 1, 4, 4)), (nets.Dilated, (3, 2, 11)),
]  # fmt: skip


@pytest.mark.parametrize(("build", "shape"), BUILDS, ids=lambda part: getattr(part, "__name__", None))
def test_everything_is_as_without_recording(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    x, y = torch.randn(shape), torch.randint(3, (shape[0],))
    plain, plain_loss, plain_random = step(False, build, x.clone(), y)
    net, loss, random = step(True, build, x.clone(), y)
    assert torch.equal(loss, plain_loss)
    assert torch.equal(random, plain_random)
    for (name, p), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert p.grad is not None and other.grad is not None
        assert torch.equal(p.grad, other.grad), f"the gradient of {name} is not bit for bit the same"
        assert torch.equal(p, other) and p.requires_grad
    for (name, b), other in zip(net.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(b, other), f"the buffer {name} moved differently"
    assert [m.training for m in net.modules()] == [m.training for m in plain.modules()]


def test_gradients_accumulate_as_without_recording() -> None:
    net = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    net(x).square().mean().backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    held = [p.grad for p in net.parameters()]
    with curvestep.record() as tape:
        net(x).square().mean().backward()
    tape.curvature(list(net.parameters()), [torch.ones_like(p) for p in net.parameters()])
    for p, b, h in zip(net.parameters(), before, held, strict=True):
        assert p.grad is h and p.grad is not None
        assert torch.equal(p.grad, 2 * b)


def _note(seen: list[tuple[str, Tensor]], out: Any) -> None:
    seen.append(("forward", out))


def test_hooks_of_the_user_fire_once_and_see_the_same_gradient() -> None:
    first, last = nn.Linear(3, 4), nn.Linear(4, 2)
    params = [*first.parameters(), *last.parameters()]
    ones, x = [torch.ones_like(p) for p in params], torch.randn(5, 3, requires_grad=True)
    with curvestep.record() as unhooked:
        last(torch.tanh(first(x))).square().mean().backward()
    seen: list[tuple[str, Tensor]] = []
    first.register_full_backward_hook(lambda module, inward, outward: seen.append(("module", outward[0])))
    first.register_forward_hook(lambda module, args, out: _note(seen, out))
    last.weight.register_hook(lambda grad: seen.append(("parameter", grad)))
    last.weight.register_post_accumulate_grad_hook(lambda p: seen.append(("accumulated", p.grad)))

    def run() -> list[tuple[str, Tensor]]:
        seen.clear()
        for p in params:
            p.grad = None
        hidden = torch.tanh(first(x))
        hidden.register_hook(lambda grad: seen.append(("tensor", grad)))
        last(hidden).square().mean().backward()
        return [(name, t.detach().clone()) for name, t in seen]

    plain = run()
    with curvestep.record() as tape:
        recorded = run()
    assert torch.equal(tape.curvature(params, ones).total, unhooked.curvature(params, ones).total)
    assert [name for name, _ in recorded] == [name for name, _ in plain]
    assert len(plain) == 5
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(recorded, plain, strict=True))


def test_a_hook_that_changes_the_gradient_does_not_change_the_curvature_of_the_loss() -> None:
    """The cotangent of the loss is what counts: a hook that clips p.grad acts after it."""
    w = torch.tensor([2.0, -1.0], requires_grad=True)
    w.register_hook(lambda grad: grad * 0)
    with curvestep.record() as tape:
        (w**3).sum().backward()
    assert w.grad is not None and not w.grad.any()
    # d²/dt² Σ (w + t)³ = 6 Σ w
    assert tape.curvature([w], [torch.ones(2)]).total.item() == pytest.approx(6.0)


def test_the_tape_is_freed_after_release() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3)
    gc.collect()
    gc.disable()  # freed by counting references, not by the collector
    try:
        with curvestep.record() as tape:
            hidden = net[:2](x)
            watched = weakref.ref(hidden)
            loss = net[2](hidden).square().mean()
            loss.backward()
        tape.curvature(list(net.parameters()), [torch.ones_like(p) for p in net.parameters()])
        del hidden, loss
        tape.release()
        assert watched() is None, "a released tape still holds an activation"
        assert tape.released
        gone = weakref.ref(tape)
        del tape
        assert gone() is None, "the tape is part of a reference cycle"
    finally:
        gc.enable()


def test_nothing_cyclic_is_left_after_release() -> None:
    net, x, y = Mixed(), torch.randn(5, 4), torch.randint(3, (5,))
    params = list(net.parameters())

    def one() -> None:
        with curvestep.record() as tape:
            F.cross_entropy(net(x), y).backward()
        tape.curvature(params, [p.grad for p in params if p.grad is not None])
        tape.release()

    one()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            one()
        assert gc.collect() == 0, "the collector had something to find"
    finally:
        gc.enable()


def test_a_tape_that_is_dropped_unreleased_is_freed() -> None:
    w = torch.ones(3, requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    gone = weakref.ref(tape)
    del tape
    gc.collect()
    assert gone() is None


def test_no_growth_over_a_thousand_steps() -> None:
    net, x, y = Mixed(), torch.randn(5, 4), torch.randint(3, (5,))
    params = list(net.parameters())

    def one() -> None:
        net.zero_grad()
        with curvestep.record() as tape:
            F.cross_entropy(net(x), y).backward()
        tape.curvature(params, [p.grad for p in params if p.grad is not None])
        tape.release()

    def alive() -> int:
        gc.collect()
        kinds = [type(o) for o in gc.get_objects()]
        return sum(issubclass(k, Tensor) or str(k.__module__).startswith("curvestep") for k in kinds)

    for _ in range(5):  # caches of operations fill up
        one()
    before = alive()
    for _ in range(1000):
        one()
    assert alive() <= before, "objects of earlier steps are still alive"


def test_no_dispatch_mode_is_left_behind_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), curvestep.record():
        raise ZeroDivisionError
    w = torch.ones(2, requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    assert tape.curvature([w], [torch.ones(2)]).total.item() == 4.0


def test_curvature_may_be_asked_inside_and_outside_of_no_grad_and_many_times() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**3).sum().backward()
    with torch.no_grad():
        inside = tape.curvature([w], [torch.ones(2)])
    again = tape.curvature([w], [torch.ones(2)])
    assert inside.total.item() == again.total.item() == 18.0
    assert not again.total.requires_grad and not inside.total.requires_grad
    assert torch.is_grad_enabled()


def test_a_gradient_penalty_inside_the_forward_is_part_of_the_loss() -> None:
    """create_graph inside the forward: J = f + ½‖∂f/∂x‖² with f = Σ w³x, so J = Σ (w³x + ½ w⁶)."""
    w = torch.tensor([1.5, -0.5], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    with curvestep.record() as tape:
        f = (w**3 * x).sum()
        (slope,) = torch.autograd.grad(f, x, create_graph=True)
        (f + 0.5 * slope.square().sum()).backward()
    q = tape.curvature([w], [torch.ones_like(w)])
    truth = (6 * w * x + 15 * w**4).sum().item()
    # closed form in float64 with a dozen operations
    assert q.total.item() == pytest.approx(truth, rel=1e-12)


def test_the_loss_and_the_batch_size_are_on_the_tape() -> None:
    net, x = nn.Linear(3, 2), torch.randn(7, 3)
    with curvestep.record() as tape:
        loss = net(x).square().mean()
        loss.backward()
    assert torch.equal(tape.loss, loss.detach()) and not tape.loss.requires_grad
    assert tape.batch_size == 7


def test_the_marks_that_an_optimizer_leaves_for_the_profiler_are_no_operations() -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with curvestep.record() as tape:
        optimizer.zero_grad()
        with torch.profiler.record_function("a part of the model"):
            loss = (weight * torch.ones(4, 3)).square().mean()
        loss.backward()
    assert not [node.name for node in tape.nodes if "profiler" in node.name]


def test_backward_runs_unobserved_and_torch_is_left_as_it_was() -> None:
    entry = torch.autograd._engine_run_backward  # pyright: ignore[reportPrivateUsage]
    x = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        assert torch.autograd._engine_run_backward is not entry  # pyright: ignore[reportPrivateUsage]
        (x**3).sum().backward()
        (torch.zeros(1) + 1.0).sum()  # after backward the recorder is back
    assert torch.autograd._engine_run_backward is entry  # pyright: ignore[reportPrivateUsage]
    assert [node.name for node in tape.nodes].count("aten.sum.default") == 2
    with pytest.raises(ZeroDivisionError), curvestep.record():
        _ = 1 / 0
    assert torch.autograd._engine_run_backward is entry  # pyright: ignore[reportPrivateUsage]


def test_a_mode_outside_the_recording_still_sees_backward() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    w, x = torch.ones(4, 4, requires_grad=True), torch.ones(2, 4)
    counts: list[int] = []
    for recorded in (False, True):
        counter = FlopCounterMode(display=False)
        with counter, curvestep.record() if recorded else contextlib.nullcontext():
            (x @ w).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 2 * 2 * 4 * 4
