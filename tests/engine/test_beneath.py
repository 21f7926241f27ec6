"""What runs beneath autograd and has a gradient after all: autograd functions, checkpoints, TorchScript, tangents.

Two truths that do not pass through the engine: double backward of the same loss in ordinary operations, and central
differences of the loss itself (`curvestep.testing.check_problem`).
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import curvestep
from curvestep.testing import Problem, check_problem
from curvestep.testing.report import RuleCheckError
from tests.engine.parts import check_parts

Function = torch.autograd.Function


class Swish(Function):
    """x σ(βx) of two arguments, both of which have a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: Tensor) -> Tensor:
        p = torch.sigmoid(rate * x)
        ctx.save_for_backward(x, p, rate)
        return x * p

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, p, rate = ctx.saved_tensors
        return g * (p + rate * x * p * (1 - p)), (g * x * x * p * (1 - p)).sum()


class Several(Function):
    """Two outputs of which one is read for the other, one without a gradient, and writes in place on the way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.empty(len(x), w.shape[1], dtype=x.dtype).copy_(x @ w)
        z = y.clone().mul_(2.0)
        z[:, 0] = y[:, 0].exp()
        fixed = y.tanh()
        ctx.mark_non_differentiable(fixed)
        ctx.save_for_backward(x, w, y)
        return y, z, fixed

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gz: Tensor, _: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, w, y = ctx.saved_tensors
        g = gy + torch.cat([gz[:, :1] * y[:, :1].exp(), 2 * gz[:, 1:]], 1)
        return g @ w.t(), x.t() @ g


class InPlace(Function):
    """exp, written over its argument."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x.exp_())
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g * ctx.saved_tensors[0]


class CrossEntropy(Function):
    """The loss itself, differentiable once."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(z.softmax(1), y)
        return F.cross_entropy(z, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        p, y = ctx.saved_tensors
        return g * (p - F.one_hot(y, p.shape[1])) / len(p), None


class Cube(Function):
    """x³ in the form that functorch asks for."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x**3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g * 3 * ctx.saved_tensors[0] ** 2


class Sine(Function):
    """sin, whose backward is another function, and which is differentiated twice in a gradient penalty."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return SineBackward.apply(g, *ctx.saved_tensors)


class SineBackward(Function):
    """g cos x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return g * x.cos()

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        g, x = ctx.saved_tensors
        return h * x.cos(), -h * g * x.sin()


class Enclosed(Function):
    """Its forward has a graph of its own, which its backward asks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            own = x.detach().requires_grad_()
            ctx.graph = own, Sine.apply(own) * 2
        return ctx.graph[1].detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        own, out = ctx.graph
        return torch.autograd.grad(out, own, g)


class Drop(Function):
    """x² under a mask drawn inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mask = (torch.rand_like(x) < 0.5).to(x)
        ctx.save_for_backward(mask, x)
        return x * x * mask

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        mask, x = ctx.saved_tensors
        return 2 * g * mask * x


def pair_of(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return h * torch.sigmoid(h), torch.tanh(h @ w)


class Net:
    """The parameters and data that the cases share."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.x, self.y = torch.randn(5, 3), torch.randint(2, (5,))
        self.w, self.v = (torch.randn(3, 4) / 3).requires_grad_(), torch.randn(4, 2).requires_grad_()
        self.rate, self.inner = torch.tensor(1.3, requires_grad=True), nn.Linear(4, 4)

    @property
    def h(self) -> Tensor:
        return self.x @ self.w

    def end(self, h: Tensor) -> Tensor:
        """Losses of the samples by the second layer."""
        return (h @ self.v).sin().sum(1)


@dataclass(frozen=True)
class Row:
    """A loss of each sample, as it is recorded and in ordinary operations."""

    name: str
    recorded: Callable[[Net], Tensor]
    plain: Callable[[Net], Tensor]
    exact: bool = True


def _several(n: Net, out: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    y, z, fixed = out
    return (y * z.sin()).sum(1) + (fixed * y).sum(1)


def _plain_several(n: Net) -> Tensor:
    y = torch.tanh(n.h) @ n.v
    return _several(n, (y, torch.cat([y[:, :1].exp(), 2 * y[:, 1:]], 1), y.tanh().detach()))


def _penalty(n: Net, bend: Callable[[Tensor], Tensor]) -> Tensor:
    at = n.x.clone().requires_grad_()
    out = n.end(bend(at @ n.w))
    slope = torch.autograd.grad(out.sum(), at, create_graph=True)[0]
    return out + slope.square().sum(1)


def _checkpoints(n: Net, first: Any, second: Any) -> Tensor:
    h = first(lambda t: F.dropout(torch.tanh(n.inner(t)), 0.5), n.h)
    return n.end(second(nn.Sequential(nn.Tanh(), n.inner, nn.Sigmoid()), h))


def _scripted(n: Net, pair: Any) -> Tensor:
    a, b = pair(n.h, n.v)
    return a.sum(1) * b.sum(1)


def _tangent(n: Net) -> Tensor:
    found = torch.func.jvp(lambda z: n.end(torch.tanh(z @ n.w + n.rate)), (n.x,), (n.x + 1,))
    return found[0] + found[1].square()


def _dual(n: Net) -> Tensor:
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(n.end(torch.tanh(forward_ad.make_dual(n.x, n.x + 1) @ n.w))).tangent
    assert found is not None
    return found.square()


def _zeros(n: Net) -> Tensor:
    """Tangents of zeros with a gradient: the rate has none, and half of the clamped values have none."""
    with forward_ad.dual_level():
        h = forward_ad.make_dual(n.h, torch.ones_like(n.h))
        out, tangent = forward_ad.unpack_dual(h.clamp(-0.5, 0.5) * n.rate + 0.1 * h)
    assert tangent is not None
    return n.end(out) + tangent.square().sum(1)


def _zeros_by_hand(n: Net) -> Tensor:
    out = n.h.clamp(-0.5, 0.5) * n.rate + 0.1 * n.h
    return n.end(out) + ((n.h.abs() < 0.5) * n.rate + 0.1).square().sum(1)


def _by_products(n: Net) -> Tensor:
    at = n.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(n.end(torch.tanh(at @ n.w)).sum(), at, create_graph=True)
    return (slope * (n.x + 1)).sum(1).square()


def _laplacian(n: Net, second: Any) -> Tensor:
    return torch.func.vmap(second(lambda z: n.end(torch.tanh(z @ n.w)[None])[0]))(n.x).diagonal(0, 1, 2).sum(1).square()


def _forward_over_reverse(function: Any) -> Any:
    return torch.func.hessian(function)


def _reverse_twice(function: Any) -> Any:
    return torch.func.jacrev(torch.func.jacrev(function))


ROWS = [
    Row("two arguments", lambda n: n.end(Swish.apply(n.h, n.rate)), lambda n: n.end(n.h * (n.rate * n.h).sigmoid())),
    Row("several outputs", lambda n: _several(n, Several.apply(torch.tanh(n.h), n.v)), _plain_several),
    Row("in place", lambda n: n.end(InPlace.apply(n.h * 1.0)), lambda n: n.end(n.h.exp())),
    Row("functorch's form", lambda n: n.end(Cube.apply(n.h)), lambda n: n.end(n.h**3)),
    Row(
        "under vmap",
        lambda n: torch.func.vmap(lambda r: n.end(Cube.apply(r @ n.w)[None])[0])(n.x),
        lambda n: n.end(n.h**3),
    ),
    Row("gradient penalty", lambda n: _penalty(n, Sine.apply), lambda n: _penalty(n, torch.sin)),
    Row("a graph inside", lambda n: n.end(Enclosed.apply(n.h)), lambda n: n.end(2 * n.h.sin())),
    Row("a mask inside", lambda n: n.end(Drop.apply(n.h)), lambda n: n.end(n.h**2 * (torch.rand_like(n.h) < 0.5))),
    Row(
        "detached arguments",
        lambda n: n.end(Swish.apply(n.h, n.h.detach().mean())),
        lambda n: n.end(n.h * (n.h.detach().mean() * n.h).sigmoid()),
    ),
    Row(
        "reentrant checkpoints",
        lambda n: _checkpoints(
            n,
            lambda f, h: checkpoint(f, h, use_reentrant=True),
            lambda f, h: checkpoint_sequential(f, 2, h, use_reentrant=True),
        ),
        lambda n: _checkpoints(n, lambda f, h: f(h), lambda f, h: f(h)),
    ),
    Row("forward mode", _tangent, _tangent),
    Row("dual numbers", _dual, _by_products),
    Row("tangents of zeros", _zeros, _zeros_by_hand),
    Row(
        "forward over reverse",
        lambda n: _laplacian(n, _forward_over_reverse),
        lambda n: _laplacian(n, _reverse_twice),
    ),
]


@pytest.fixture(autouse=True)
def _double() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def problem(recorded: Callable[[Net], Tensor], plain: Callable[[Net], Tensor]) -> Problem:
    """The mean of a loss; masks are the same at every call."""
    net = Net()
    params = [net.w, net.v, net.rate, *net.inner.parameters()]
    direction = [0.05 * torch.randn_like(p) for p in params]

    def same(loss: Callable[[Net], Tensor]) -> Tensor:
        torch.manual_seed(1)
        return loss(net)

    return Problem(params, direction, lambda: same(recorded).mean(), lambda: same(plain))


def check(found: Problem, smooth: bool = True) -> None:
    report = check_problem(lambda dtype: found, smooth=smooth, single=False)
    if report.failures:
        raise RuleCheckError(report)


# "detached arguments" and the fixed output of "several outputs" depend on what central differences move; the third has
# kinks.
HELD_FIXED = {"detached arguments", "several outputs", "tangents of zeros"}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_on_the_tape(row: Row) -> None:
    found = problem(row.recorded, row.plain)
    check(found, smooth=row.name not in HELD_FIXED)
    with curvestep.record() as tape:
        found.loss().backward()
    check_parts(tape, found, "")


# `torch.func.hessian` compiles a helper on its first call
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("memory", ["split", 0, 0.5])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_whatever_the_tape_holds(row: Row, memory: Any) -> None:
    found = problem(row.recorded, row.plain)
    with curvestep.record() as tape:
        found.loss().backward()
    expected = tape.curvature(found.params, found.direction)
    with curvestep.record(memory=memory) as tape:
        found.loss().backward()
    given = tape.curvature(found.params, found.direction)
    torch.testing.assert_close(given.total, expected.total, rtol=1e-11, atol=1e-12)
    if memory != "split" and given.per_sample_exact and expected.per_sample_exact:
        torch.testing.assert_close(given.per_sample, expected.per_sample, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(tape.loss_along(found.params, found.direction, [0.0])[0], tape.loss)


def test_a_loss_that_is_a_function_itself() -> None:
    found = problem(lambda n: torch.tanh(n.h) @ n.v, lambda n: torch.tanh(n.h) @ n.v)
    net = Net()
    found.params[0].data.copy_(net.w)
    check(
        Problem(
            found.params,
            found.direction,
            lambda: CrossEntropy.apply(torch.tanh(net.x @ found.params[0]) @ found.params[1], net.y),
            lambda: F.cross_entropy(torch.tanh(net.x @ found.params[0]) @ found.params[1], net.y, reduction="none"),
        )
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_torchscript_in_every_of_its_runs() -> None:
    scripted = torch.jit.script(pair_of)
    found = problem(
        lambda n: _scripted(n, scripted),
        lambda n: _scripted(n, lambda h, w: (h * h.sigmoid(), torch.tanh(h @ w))),
    )
    for _ in range(4):  # the first runs go operation by operation, later ones beneath autograd
        check(found)


# -- what is not the derivative of its forward -----------------------------------------------------------------------


class Half(Function):
    """2x with half the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g


class Elsewhere(Function):
    """sin by numpy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.from_numpy(x.detach().numpy()).sin() if x.requires_grad else x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g * ctx.saved_tensors[0].cos()


class Rounded(Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g


class Registered(Rounded):
    """The same, of which it is said what it stands for."""


OTHERS: dict[str, tuple[Callable[[Net], Tensor], str]] = {
    "half": (lambda n: Half.apply(n.h), "forward of Half give the slope"),
    "numpy": (lambda n: Elsewhere.apply(n.h), "Elsewhere.*computed elsewhere"),
    "straight through": (lambda n: Rounded.apply(n.h), r"Rounded.*register_rule"),
    "detached in a checkpoint": (
        lambda n: checkpoint(lambda h: h.detach() * n.inner(h), n.h, use_reentrant=True),
        "CheckpointFunction give the slope.*use_reentrant=False",
    ),
}


@pytest.mark.parametrize("case", OTHERS, ids=list(OTHERS))
@pytest.mark.parametrize("ask", ["curvature", "hvp", "a part"])
def test_another_backward_is_refused(case: str, ask: str) -> None:
    bend, sentence = OTHERS[case]
    found = problem(lambda n: n.end(bend(n)), lambda n: n.end(bend(n)))
    with curvestep.record() as tape:
        found.loss().backward()
    with pytest.raises(curvestep.MissingRuleError, match=sentence):
        if ask == "hvp":
            tape.hvp(found.params, found.direction)
        else:
            tape.curvature(found.params, found.direction, samples=2 if ask == "a part" else None)


def test_a_straight_through_estimator_is_what_it_is_said_to_stand_for() -> None:
    curvestep.register_rule(Registered, lambda x: x + (x.round() - x).detach(), samples="elementwise")
    check(
        problem(lambda n: n.end(Registered.apply(n.h)), lambda n: n.end(n.h + (n.h.round() - n.h).detach())),
        smooth=False,
    )


def test_a_hook_on_a_parameter_is_no_other_backward() -> None:
    found = problem(lambda n: n.end(Cube.apply(n.h)), lambda n: n.end(n.h**3))
    found.params[0].register_hook(lambda g: 0.5 * g)
    with curvestep.record() as tape:
        found.loss().backward()
    tape.curvature(found.params, found.direction)


def test_a_sparse_gradient_beside_a_function() -> None:
    table = torch.randn(6, 4).requires_grad_()
    with curvestep.record() as tape:
        Cube.apply(F.embedding(torch.tensor([0, 2, 2]), table, sparse=True)).sum(1).mean().backward()
    found = tape.curvature([table], [torch.ones_like(table)])
    torch.testing.assert_close(found.total, (6 * table.detach()[[0, 2, 2]]).sum() / 3)


def test_a_released_recording_is_freed_without_the_garbage_collector() -> None:
    net = Net()

    def recorded() -> list[Any]:
        with curvestep.record() as tape:
            net.end(Swish.apply(net.h, net.rate)).mean().backward()
        tape.curvature([net.w], [torch.ones_like(net.w)])
        values = [weakref.ref(v) for node in tape.nodes for v in node.outputs if v is not None]
        tape.release()
        return values

    gc.disable()
    try:
        assert [v for v in recorded() if v() is not None] == []
    finally:
        gc.enable()


def test_what_becomes_of_the_gradient_later_does_not_matter() -> None:
    net = Net()
    params = [net.w, net.v]
    with curvestep.record() as tape:
        net.end(Cube.apply(net.h)).mean().backward()
    torch.nn.utils.clip_grad_norm_(params, 1e-3)
    assert tape.curvature(params, [torch.ones_like(p) for p in params]).total.isfinite()
